"""Starts the kernels of notebooks in forked processes, without the five seconds that their imports take."""

import runpy
import subprocess
import sys

from jupyter_client.kernelspec import get_kernel_spec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from tests.support.programs import call


class ForkedKernel(LocalProvisioner):
    """A kernel that the server of :mod:`tests.support.programs` forks."""

    async def launch_kernel(self, cmd, **kwargs):
        words = cmd[cmd.index("ipykernel_launcher") + 1 :]
        # The kernel would leave with its parent, which is not this process.
        env = {name: value for name, value in kwargs["env"].items() if name != "JPY_PARENT_PID"}
        self.process = call(
            "tests.support.kernels:kernel", words, cwd=kwargs["cwd"], env=env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.pid = self.process.pid
        return self.connection_info


class ForkedKernels(AsyncKernelManager):
    """What ``NotebookClient`` starts its kernel with."""

    async def pre_start_kernel(self, **kwargs):
        spec = get_kernel_spec("python3")
        self.provisioner = ForkedKernel(parent=self.parent, kernel_id=self.kernel_id, kernel_spec=spec)
        return await super().pre_start_kernel(**kwargs)


def kernel(words):
    """What ``python -m ipykernel_launcher`` does, but that matplotlib is loaded and has to be told where it shows."""
    sys.argv = ["ipykernel_launcher", *words, "--matplotlib=inline"]
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
