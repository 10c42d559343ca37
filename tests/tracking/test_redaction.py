"""One rule for secrets, whatever form they come in; and what is none stays."""

import logging

import pytest

from aepretrain.runs.directory import log_to, record_command
from aepretrain.tracking.redaction import is_redacted, redact, redact_strings, redact_text, redact_words
from aepretrain.tracking.wandb_run import WandbRun, artifact_name

SECRET = "s3cr3t/+="
TEXTS = [
    f"https://user:{SECRET.replace('/', '')}@host/x", f"x?token={SECRET}", f"page=1&api_key={SECRET}",
    f"password='{SECRET}'",
    f'{{"hub_token": "{SECRET}"}}', f"Secret: {SECRET}", "ftp://me:s3cr3t@s3cr3t@host", f"dbPasswd={SECRET}",
    "https://s3cr3t@host/x",
]  # fmt: skip
HARMLESS = [
    "https://host/x@2", "runs/a", "key: null", "monkey", "a@b.org", "tokens", "C:/x", "https://host:80/key/x",
    "10 keys",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_in_text_is_redacted_everywhere(text, tmp_path):
    assert "s3cr3t" not in redact_text(text)
    for hide in (redact, redact_strings):
        assert "s3cr3t" not in str(hide({"data": [{"root": text}], "seed": 0}))
        assert is_redacted(hide({"data": [{"root": text}]}))
    assert "s3cr3t" not in str(redact_words(["fit", "--data.root", text, f"--data.root={text}"]))
    assert "s3cr3t" not in artifact_name(text, text)
    record_command(tmp_path, "fit", ["--data.root", text])
    with log_to(tmp_path / "train.log"):
        logging.getLogger("aepretrain").info("reading %s", text)
    for name in ("commands.txt", "train.log"):
        assert "s3cr3t" not in (tmp_path / name).read_text()
        assert "(redacted)" in (tmp_path / name).read_text()


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays_as_it_is(text):
    assert redact_text(text) == text
    assert redact({"a": [text]}) == {"a": [text]}
    assert not is_redacted({"a": [text]})


def test_settings_named_by_a_secret_are_kept_in_configs_alone():
    settings = {"key": "features", "max_tokens": None, "inner": [{"api_key": 7}]}
    assert redact_strings(settings) == settings
    assert redact(settings) == {"key": "(redacted)", "max_tokens": None, "inner": [{"api_key": "(redacted)"}]}


def test_wandb_is_given_pictures_of_ours_alone(tmp_path):
    run, given = WandbRun.__new__(WandbRun), []
    run.pictures, run.attempt = [], given.append
    (tmp_path / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (tmp_path / "own.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "link.png").symlink_to(tmp_path / "own.png")
    for name in ("eps.png", "link.png", "missing.png"):
        run.log_pictures({"a": tmp_path / name})
    assert given == []
    run.log_pictures({"a": tmp_path / "own.png", "b": tmp_path / "eps.png"})
    assert (len(given), run.pictures) == (1, ["a"])
