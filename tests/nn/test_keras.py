"""The public face: everything it names is there, and works in a row as the lectures write it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import rig
from convlens.model import Model
from convlens.nn import keras
from convlens.nn.keras_layer import waits_for_input


def test_every_name_is_there_and_says_what_it_is() -> None:
    for name in keras.__all__:
        assert getattr(keras, name).__doc__, name
    assert set(keras.__all__) >= {"Conv2D", "Dense", "MinPooling2D", "GaussianNoise", "L1L2", "MaxNorm", "HeNormal"}


def test_a_network_in_kerass_words() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        keras.Conv2D(32, (3, 3), activation="relu", input_shape=(1, 28, 28)),
        keras.MaxPooling2D((2, 2)),
        keras.Conv2D(64, (3, 3), activation="relu"),
        keras.MaxPooling2D((2, 2)),
        keras.GaussianNoise(0.1),
        keras.Flatten("channels_last"),
        keras.Dense(10),
    )
    y = network(torch.randn(2, 1, 28, 28))
    assert y.shape == (2, 10)
    y.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert [sum(p.numel() for p in part.parameters()) for part in network] == [320, 0, 18496, 0, 0, 0, 16010]


def test_a_network_of_waiting_layers_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(
            keras.Conv2D(4, 3, activation="relu", kernel_constraint="max_norm", activity_regularizer="l1"),
            keras.SeparableConv2D(4, 3, padding="same", strides=2),
            keras.GlobalAveragePooling2D(),
            keras.Dense(3, kernel_regularizer="l2"),
        )

    images, labels = rig.pictures()
    model = Model(network())
    model.fit((images, labels), **{**rig.QUICK, "layout": "auto", "epochs": 1})  # the trials are on copies that wait
    path = model.save(tmp_path / "model.safetensors")
    fresh = network()
    again = Model.load(path, network=fresh)
    assert not waits_for_input(fresh)
    assert again.predict(list(images[:5])) == model.predict(list(images[:5]))
