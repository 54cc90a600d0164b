"""The table of all networks against published counts."""

from __future__ import annotations

from convlens.explain.listing import list_networks, measure_networks
from convlens.models.catalog import NETWORKS

PARAMETERS = {
    "lenet5": 61_706,
    "tutorial": 62_006,
    "mlp": 101_770,
    "vgg16": 138_357_544,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnet20": 269_722,
    "densenet121": 7_978_856,
    "mobilenet_v2": 3_504_872,
    "efficientnet_b0": 5_288_548,
    "fcn32s": 138_357_544 - (4096 * 1000 + 1000) + (4096 * 2 + 2),  # VGG-16 with another head
}
MACS = {"vgg16": 15.4703e9, "resnet18": 1.8141e9, "resnet50": 4.0892e9, "mobilenet_v2": 0.3008e9}
FIELDS = {
    "vgg16": 212,
    "resnet18": 435,
    "densenet121": 2071,
    "googlenet": 715,
    "efficientnet_b0": None,
    "mlp": None,
    "dncnn": 1 + 9 * 2,
    "unet": 204,  # no two neighbours see alike: exactly, at most
    "fcn8s": None,
    "autoencoder": None,
    "yolo": None,
}
OUTPUTS = {"lenet5": 10, "vgg16": 1000, "unet": 2, "autoencoder": 1, "dncnn": 1, "yolo": 20}


def test_what_is_listed_is_what_the_networks_are() -> None:
    """After a change of the catalog: python docs/make_networks.py."""
    assert list_networks() == measure_networks()


def test_every_network_is_listed_with_its_size_cost_and_field() -> None:
    rows = {row["name"]: row for row in list_networks()}
    assert list(rows) == list(NETWORKS)
    assert {name: rows[name]["parameters"] for name in PARAMETERS} == PARAMETERS
    for name, macs in MACS.items():
        assert abs(rows[name]["macs"] / macs - 1) < 2e-4, name
    assert {name: rows[name]["receptive_field_px"] for name in FIELDS} == FIELDS
    assert {name: rows[name]["outputs"] for name in OUTPUTS} == OUTPUTS
    for row in rows.values():
        assert row["title"]
        assert row["source"]
        assert row["licence"] == "Apache-2.0"
        assert 1950 < row["year"] < 2100
