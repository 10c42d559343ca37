"""The mathematics: coders, corruptions, likelihoods and penalties. Only torch is imported here."""
