"""Settings of the whole suite."""

import atexit
import os
import shutil
import signal
import tempfile

# Tests train tiny models: more threads would only wait for each other, much longer where the machine is shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A shell that starts a command in the background lets it ignore Ctrl-C, and what it starts inherits that: commands that
# tests interrupt would go on for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test takes work from the user's store, or leaves any there.
os.environ["SPLITFT_RESULTS"] = tempfile.mkdtemp(prefix="splitft-results-")
atexit.register(shutil.rmtree, os.environ["SPLITFT_RESULTS"], ignore_errors=True)
