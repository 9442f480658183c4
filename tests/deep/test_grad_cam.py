"""Feature maps and Grad-CAM by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

from skbackdoor import BackdoorPoisoner, GradCAMDisplay, PatchTrigger

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from small_network import X, Y, net  # noqa: E402
from torch import nn  # noqa: E402

from skbackdoor.deep import (  # noqa: E402
    BackdoorNetClassifier,
    feature_maps,
    grad_cam,
    image_classifier,
)


@pytest.fixture(scope="module")
def fitted():
    return net().fit(X[:120], Y[:120])


def test_grad_cam_by_hand(fitted):
    """The logit's gradient in the maps by finite differences of the layers behind them."""
    module, k = fitted.module_, 1
    maps = feature_maps(fitted, X[:2], "features")
    assert maps.shape == (2, 6, 8, 8)

    def logit(A):
        with torch.no_grad():
            A = torch.as_tensor(A, dtype=torch.float32)
            return module.head(torch.relu(module.hidden(A.flatten(1))))[:, k].numpy()

    gradients = np.zeros_like(maps)
    for place in np.ndindex(maps.shape[1:]):
        step = np.zeros(maps.shape[1:], np.float32)
        step[place] = 1e-2
        gradients[(slice(None), *place)] = (logit(maps + step) - logit(maps - step)) / 2e-2
    seen = np.maximum((gradients.mean(axis=(2, 3), keepdims=True) * maps).sum(axis=1), 0)
    seen /= np.maximum(seen.max(axis=(1, 2), keepdims=True), 1e-30)
    assert_allclose(grad_cam(fitted, X[:2], k, layer="features"), seen, atol=2e-2)


def test_grad_cam_shows_the_trigger():
    trigger = PatchTrigger(3, image_shape=(8, 8))
    poisoner = BackdoorPoisoner(
        net(max_epochs=15), trigger, target=0, poisoning_rate=0.3, random_state=0
    ).fit(X[:120], Y[:120])
    sources = X[120:][Y[120:] != 0]
    seen = grad_cam(poisoner.estimator_, poisoner.trigger_.transform(sources), 0, "features")
    assert seen.shape == (len(sources), 8, 8) and seen.min() >= 0 and seen.max() == 1
    corner = (
        seen[:, 5:, 5:].mean(),
        grad_cam(poisoner.estimator_, sources, 0, "features")[:, 5:, 5:].mean(),
    )
    assert corner[0] > 1.5 * corner[1]


def test_grad_cam_display():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    trigger = PatchTrigger(3, image_shape=(8, 8))
    poisoner = BackdoorPoisoner(net(), trigger, target=0, random_state=0).fit(X[:120], Y[:120])
    display = GradCAMDisplay.from_estimator(
        poisoner, X[120:], Y[120:], layer="features", n_samples=2
    )
    assert display.axes_.shape == (4, 4)
    rows = np.flatnonzero(Y[120:] != 0)[:2]
    first, second = X[120:][rows], poisoner.trigger_.transform(X[120:][rows])
    label = Y[120:][rows[1]]
    assert np.array_equal(display.images[1, 0].ravel(), first[1].astype(float))
    poisoned = poisoner.estimator_
    expected = grad_cam(poisoned, second[1:], 0, "features")[0]
    assert_allclose(display.maps[3, 1, 1], expected, atol=1e-6)
    clean = net(random_state=poisoned.random_state).fit(X[:120], Y[:120])
    assert_allclose(
        display.maps[0, 1, 0], grad_cam(clean, first[1:], label, "features")[0], atol=1e-5
    )


def test_maps_are_those_of_the_layer_itself():
    """Not what a ReLU that works in place makes of them."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3)
    )
    trained = BackdoorNetClassifier(network, image_shape=(8, 8), max_epochs=1).fit(X, Y)
    images = torch.as_tensor(X[:3]).reshape(-1, 1, 8, 8)
    with torch.no_grad():
        expected = trained.module_[0](images)
        latent = trained._run(images, "0")[1]
    assert expected.min() < 0
    assert_allclose(feature_maps(trained, X[:3]), expected, atol=1e-6)
    assert_allclose(latent, expected, atol=1e-6)


def test_grad_cam_of_maps_with_channels_last():
    images = np.repeat(X[:3].reshape(-1, 1, 8, 8), 8, axis=2).repeat(8, axis=3)
    swin = image_classifier("swin_t", 3, image_size=64, max_epochs=0, random_state=0)
    swin.fit(images, [0, 1, 2])
    maps = feature_maps(swin, images, "features.7")
    assert maps.shape == (3, 768, 2, 2)
    seen = grad_cam(swin, images, 1, "features.7")
    network, k = swin.module_.network, 1
    A = torch.as_tensor(maps).movedim(1, 3).requires_grad_()
    logits = network.head(network.norm(A).movedim(3, 1).mean(dim=(2, 3)))
    (slope,) = torch.autograd.grad(logits[:, k].sum(), A)
    coarse = (slope.mean(dim=(1, 2), keepdim=True) * A).sum(dim=3).clamp(min=0).detach()
    fine = nn.functional.interpolate(coarse[:, None], (64, 64), mode="bilinear")[:, 0].numpy()
    largest = fine.max(axis=(1, 2), keepdims=True)
    assert_allclose(seen, fine / np.where(largest > 0, largest, 1.0), atol=1e-3)


def test_a_layer_that_is_not_used(fitted):
    fitted.module_.idle = nn.Conv2d(1, 1, 1)
    try:
        with pytest.raises(ValueError, match="'idle' has no part"):
            feature_maps(fitted, X[:1], "idle")
    finally:
        del fitted.module_.idle


def test_grad_cam_errors(fitted):
    images = X[:9].reshape(-1, 1, 8, 8)
    transformer = image_classifier("vit_b_16", 3, max_epochs=0).fit(images, Y[:9])
    with pytest.raises(ValueError, match="'network.conv_proj', is not near its end"):
        grad_cam(transformer, images[:1], Y[0])
    with pytest.raises(ValueError, match="class_label=7 is none of the classes"):
        grad_cam(fitted, X[:2], 7)
    with pytest.raises(ValueError, match="layer='feature'.*'features'"):
        grad_cam(fitted, X[:2], 0, layer="feature")
    with pytest.raises(ValueError, match="maps have four dimensions"):
        grad_cam(fitted, X[:2], 0, layer="hidden")
    with pytest.raises(TypeError, match="fitted BackdoorNetClassifier"):
        grad_cam(LogisticRegression(), X[:2], 0)
