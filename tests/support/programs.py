"""Starts the command in processes of its own, without the four seconds that its imports take.

Where :func:`start` stands, ``subprocess.Popen([sys.executable, "-m", "aepretrain", ...])`` would do the same: a server
that has loaded the package forks. The server of a test process starts when it is first used. Tests of what happens
while Python loads start Python anew.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LARGEST_MESSAGE = 1 << 20


class Program:
    """A process that a server forked; the part of ``subprocess.Popen`` that tests use."""

    def __init__(self, status, stdout, stderr):
        self.stdin, self.stdout, self.stderr, self.returncode = None, stdout, stderr, None
        self._status = os.fdopen(status)
        self.pid = int(self._status.readline())

    def poll(self):
        """The exit code, negative for a signal; ``None`` while the process runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def wait(self, timeout=None):
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired("aepretrain", timeout)
            select.select([self._status], [], [], left)
        return self.returncode

    def communicate(self, timeout=None):
        """What is left to read of standard output and standard error, once both are closed; ends with the process."""
        texts = {}
        streams = [stream for stream in (self.stdout, self.stderr) if stream is not None]
        readers = [
            threading.Thread(target=lambda stream=stream: texts.update({stream: stream.read()}), daemon=True)
            for stream in streams
        ]
        end = None if timeout is None else time.monotonic() + timeout
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if end is None else max(0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired("aepretrain", timeout)
        for stream in streams:
            stream.close()
        self.wait(None if end is None else max(1, end - time.monotonic()))
        return tuple(texts.get(stream) for stream in (self.stdout, self.stderr))

    def send_signal(self, signum):
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


def start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options):
    """Start the command.

    Args:
        words: The words of the command, without the program's name.
        stdout: As for ``subprocess.Popen``: ``PIPE``, ``DEVNULL`` or a file descriptor.
        stderr: The same, or ``STDOUT``.
        options: Passed to :func:`call`.
    """
    return call("tests.support.programs:command", list(map(str, words)), stdout=stdout, stderr=stderr, **options)


def run(*words, timeout=300, **options):
    """Run the command to its end; what ``subprocess.run`` returns, with text."""
    return _finish(start(*words, **options), words, timeout)


def run_program(text, *words, timeout=300, **options):
    """Run a text as ``python -c`` does, but that the package is loaded; what ``subprocess.run`` returns."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = call("tests.support.programs:execute", text, list(map(str, words)), **pipes, **options)
    return _finish(started, words, timeout)


def run_script(path, *words, timeout=300, **options):
    """Run a file as ``python FILE`` does, but that the package is loaded; what ``subprocess.run`` returns."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = call("tests.support.programs:script", str(path), list(map(str, words)), **pipes, **options)
    return _finish(started, words, timeout)


def _finish(program, words, timeout):
    out, err = program.communicate(timeout)
    return subprocess.CompletedProcess(words, program.returncode, out, err)


def call(function, *arguments, stdout, stderr, cwd=ROOT, env=None, start_new_session=False, ignored=()):
    """Call a function in a process of its own.

    Args:
        function: Module and name, with a colon between them; what it returns is the exit code.
        arguments: Passed to it, as JSON has them.
        stdout: See :func:`start`.
        stderr: See :func:`start`.
        cwd: Current folder.
        env: Environment; ``None``: that of this process.
        start_new_session: Whether the process leads a session of its own.
        ignored: Signals that it ignores, as ``nohup`` has it.
    """
    ours, theirs, closed = {}, {}, []
    for name, stream in (("stdout", stdout), ("stderr", stderr)):
        if stream == subprocess.PIPE:
            read, theirs[name] = os.pipe()
            ours[name] = os.fdopen(read)
            closed.append(theirs[name])
        elif stream == subprocess.DEVNULL:
            theirs[name] = os.open(os.devnull, os.O_WRONLY)
            closed.append(theirs[name])
        else:
            theirs[name] = theirs["stdout"] if stream == subprocess.STDOUT else stream
    status, told = os.pipe()
    job = {
        "function": function, "arguments": arguments, "cwd": str(cwd), "env": {**(os.environ if env is None else env)},
        "session": start_new_session, "ignored": list(map(int, ignored)),
    }  # fmt: skip
    socket.send_fds(_server(), [json.dumps(job).encode()], [theirs["stdout"], theirs["stderr"], told])
    for handle in (*closed, told):
        os.close(handle)
    return Program(status, ours.get("stdout"), ours.get("stderr"))


@functools.cache
def _server():
    """The connection to the server of this process, which leaves when the connection is closed."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (here, there):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST_MESSAGE)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.support.programs", str(there.fileno())]
    server = subprocess.Popen(words, pass_fds=[there.fileno()], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    there.close()
    atexit.register(lambda: (here.close(), server.wait(30)))
    return here


def command(words):
    """What ``python -m aepretrain`` does."""
    sys.argv = ["aepretrain", *words]
    runpy.run_module("aepretrain", run_name="__main__", alter_sys=True)


def execute(text, words):
    """What ``python -c`` does."""
    sys.argv = ["-c", *words]
    exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})


def script(path, words):
    """What ``python FILE`` does."""
    sys.argv = [path, *words]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")


def serve(connection):
    """Fork for each job until the other end is closed; in a fork, its function is returned, to be called."""
    while True:
        message, handles, _, _ = socket.recv_fds(connection, LARGEST_MESSAGE, 3)
        if not message:
            sys.exit()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:  # a process that waits for the one that works
            connection.close()
            stdout, stderr, status = handles
            if (child := os.fork()) == 0:
                os.close(status)
                return _prepare(json.loads(message), stdout, stderr)
            os.close(stdout)
            os.close(stderr)
            null = os.open(os.devnull, os.O_RDWR)
            for number in (1, 2):  # the streams of pytest are not held open
                os.dup2(null, number)
            os.write(status, f"{child}\n".encode())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            os.write(status, f"{code}\n".encode())
            os._exit(0)
        for handle in handles:
            os.close(handle)


def _prepare(job, stdout, stderr):
    """Make this process the one that was asked for."""
    if job["session"]:
        os.setsid()
    for signum in job["ignored"]:
        signal.signal(signum, signal.SIG_IGN)
    for handle, number in ((stdout, 1), (stderr, 2)):
        os.dup2(handle, number)
    for handle in {stdout, stderr}:
        os.close(handle)
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    sys.path[0] = job["cwd"]
    module, name = job["function"].split(":")
    return functools.partial(getattr(importlib.import_module(module), name), *job["arguments"])


if __name__ == "__main__":
    from tests.support.loading import load_everything

    gc.disable()
    load_everything()
    gc.freeze()  # a collection in a fork would look at all of it, and copy it
    gc.enable()
    sys.exit(serve(socket.socket(fileno=int(sys.argv[1])))())
