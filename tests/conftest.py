"""Settings of the whole suite."""

import os

# Tests train tiny models: more threads would only wait for each other, much longer where the machine is shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
