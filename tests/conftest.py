"""Settings of all tests."""

import torch

# Small tensors gain nothing from more threads, and threads that wait for each other cost a lot.
torch.set_num_threads(1)
