import pytest

from discnb.devices import gpu_like, model_flops_utilisation


@pytest.mark.parametrize(
    ("name", "gigabytes", "known"),
    [
        ("NVIDIA H100 80GB HBM3", 85.0, "H100-80"),
        ("NVIDIA A100-SXM4-80GB", 85.1, "A100-80"),
        ("NVIDIA A100-SXM4-40GB", 42.4, "A100-40"),
        ("NVIDIA L40S", 47.7, "L40S"),
        ("NVIDIA GeForce RTX 4090", 25.3, "RTX4090"),
        ("NVIDIA H200", 150.0, "H200"),
        ("NVIDIA H100 NVL", 100.0, None),
        ("Some other", 80.0, None),
    ],
)
def test_a_gpu_is_known_by_its_drivers_name_and_memory(name, gigabytes, known):
    assert gpu_like(name, int(gigabytes * 1e9)) == known


def test_no_utilisation_is_claimed_on_a_cpu():
    assert model_flops_utilisation(1e12, bf16=True) is None
