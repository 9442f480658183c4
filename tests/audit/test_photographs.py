"""Features of photographs: those of the network, each computed once, shared by copies."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import FunctionTransformer, normalize

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")


def test_each_image_is_computed_once(tmp_path, monkeypatch):
    from skbackdoor.audit.photographs import Features

    torch.save(torchvision.models.mobilenet_v2().state_dict(), tmp_path / "weights.pt")
    X = np.random.RandomState(0).randint(0, 256, (4, 3, 32, 32)).astype(np.uint8)
    features = Features(tmp_path / "weights.pt", 32).fit(X[:1])
    expected = normalize(features.network.transform(X))
    computed = []
    transform = features.network.transform
    monkeypatch.setattr(
        features.network, "transform", lambda X: [computed.append(len(X)), transform(X)][1]
    )
    step = FunctionTransformer(features)
    np.testing.assert_allclose(step.fit_transform(X[[0, 1, 0]]), expected[[0, 1, 0]], atol=1e-5)
    again = clone(step).fit_transform(X[::-1])
    np.testing.assert_allclose(again, expected[::-1], atol=1e-5)
    assert computed == [2, 2]
