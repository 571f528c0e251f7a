#!/usr/bin/env bash
# Makes .venv in this checkout on a Debian or Ubuntu machine with an NVIDIA driver; the second time it starts at once.
set -euo pipefail
cd "$(dirname "$0")/.."

# llama-cpp-python is built from source
if ! command -v g++ >/dev/null || ! command -v make >/dev/null; then
    sudo apt-get update -qq
    sudo apt-get install -y -qq g++ make
fi

# images bring any Python, and SkyPilot brings conda
if [ ! -x "$HOME/.discnb-python/bin/python" ]; then
    conda create --yes --quiet --prefix "$HOME/.discnb-python" --override-channels --channel conda-forge python=3.12
fi

# with constraints.txt; on Linux the package index has torch with CUDA
make .venv/ready PYTHON="$HOME/.discnb-python/bin/python"
