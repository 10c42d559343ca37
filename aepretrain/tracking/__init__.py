"""Where figures go while a run trains: metrics files, and loggers of Lightning."""
