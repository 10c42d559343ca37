from pathlib import Path
def is_comparison(folder: Path) -> bool:
    return (folder / "runs").is_dir()
def write_comparison_report(folder: Path) -> Path:
    raise NotImplementedError
