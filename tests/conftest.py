"""Settings of the whole suite."""

import atexit
import os
import shutil
import tempfile

# Tests train tiny models: more threads would only wait for each other, much longer where the machine is shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# No test takes work from the user's store, or leaves any there.
os.environ["SPLITFT_RESULTS"] = tempfile.mkdtemp(prefix="splitft-results-")
atexit.register(shutil.rmtree, os.environ["SPLITFT_RESULTS"], ignore_errors=True)
