"""Regularizers against their formulas in numpy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from skbackdoor import BackdoorPoisoner, PatchTrigger

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from small_network import X, Y, net  # noqa: E402

from skbackdoor.deep import (  # noqa: E402
    ContrastiveLoss,
    LogitSqueezing,
    ManifoldMixup,
    SoftNearestNeighborLoss,
)


@pytest.fixture(scope="module")
def fitted():
    return net().fit(X[:120], Y[:120])


def batch(fitted, n=15):
    return torch.as_tensor(X[:n]).reshape(-1, 1, 8, 8), torch.as_tensor(Y[:n])


def ones(n=15):
    return torch.ones(n)


def latents(fitted, layer, n=15):
    with torch.no_grad():
        return [part.numpy() for part in fitted._run(batch(fitted, n)[0], layer)]


def test_logit_squeezing(fitted):
    logits, penalty = LogitSqueezing(0.3)(fitted._run, *batch(fitted), ones())
    F = fitted.decision_function(X[:15])
    assert_allclose(logits.detach().numpy(), F, atol=1e-5)
    assert_allclose(penalty.detach().numpy(), 0.3 * np.sum(F**2, axis=1), rtol=1e-5)


@pytest.mark.parametrize("layer", [None, "hidden", "features"])
def test_contrastive(fitted, layer):
    _, z = latents(fitted, layer)
    z, y = z.reshape(15, -1), Y[:15]
    loss = ContrastiveLoss(layer, strength=0.2, margin=3.0)
    _, penalty = loss(fitted._run, *batch(fitted), ones())
    for i in range(15):
        total = 0.0
        for j in range(15):
            if j != i:
                d = np.linalg.norm(z[i] - z[j])
                total += d**2 if y[i] == y[j] else max(0.0, 3.0 - d) ** 2
        assert_allclose(penalty[i].item(), 0.2 * total / 14, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 50.0])
def test_soft_nearest_neighbours(fitted, temperature):
    _, z = latents(fitted, None)
    y = Y[:15].copy()
    y[4] = 2 if np.sum(y == 2) == 0 else y[4]
    loss = SoftNearestNeighborLoss(strength=0.7, temperature=temperature)
    _, penalty = loss(fitted._run, batch(fitted)[0], torch.as_tensor(y), ones())
    for i in range(15):
        near = [np.exp(-np.sum((z[i] - z[j]) ** 2) / temperature) for j in range(15) if j != i]
        same = [y[j] == y[i] for j in range(15) if j != i]
        expected = -np.log(np.sum(np.array(near)[same]) / np.sum(near)) if any(same) else 0.0
        assert_allclose(penalty[i].item(), 0.7 * expected, rtol=1e-3, atol=1e-5)


def test_a_class_of_one_sample_has_no_neighbours(fitted):
    images, _ = batch(fitted, 5)
    y = torch.tensor([0, 0, 1, 0, 2])
    images = images.clone().requires_grad_()
    _, penalty = SoftNearestNeighborLoss(temperature=5.0)(fitted._run, images, y, ones(5))
    assert penalty[2].item() == penalty[4].item() == 0.0
    penalty.sum().backward()
    assert torch.isfinite(images.grad).all()


@pytest.mark.parametrize("layer", [None, "hidden"])
def test_manifold_mixup(fitted, layer):
    torch.manual_seed(3)
    mixup = ManifoldMixup(layer, strength=0.4, concentration=2.0)
    _, penalty = mixup(fitted._run, *batch(fitted), ones())
    torch.manual_seed(3)
    a = torch.tensor(2.0)
    mu = torch.distributions.Beta(a, a).sample().item()
    other = torch.randperm(15).numpy()
    _, h = latents(fitted, layer)
    mixed = mu * h + (1 - mu) * h[other]
    module = fitted.module_
    with torch.no_grad():
        mixed = torch.as_tensor(mixed, dtype=torch.float32)
        mixed = torch.relu(mixed) if layer == "hidden" else mixed
        F = log_softmax(module.head(mixed).numpy(), axis=1)
    rows, y = np.arange(15), Y[:15]
    expected = -mu * F[rows, y] - (1 - mu) * F[rows, y[other]]
    assert_allclose(penalty.detach().numpy(), 0.4 * expected, rtol=1e-4)


@pytest.mark.parametrize(
    "regularizer",
    [LogitSqueezing(), ContrastiveLoss("hidden", margin=3.0), SoftNearestNeighborLoss()],
    ids=lambda regularizer: type(regularizer).__name__,
)
def test_rows_of_weight_0_have_no_part_in_a_penalty(fitted, regularizer):
    images, y = batch(fitted)
    weight = torch.rand(15, generator=torch.Generator().manual_seed(0)) + 0.1
    weight[::4] = 0.0
    kept = weight > 0
    _, penalty = regularizer(fitted._run, images, y, weight)
    _, expected = regularizer(fitted._run, images[kept], y[kept], weight[kept])
    assert_allclose(penalty[kept].detach(), expected.detach(), rtol=1e-4, atol=1e-6)
    _, doubled = regularizer(fitted._run, images, y, 2 * weight)
    assert_allclose(doubled.detach(), penalty.detach(), rtol=1e-4, atol=1e-6)  # a mean, no sum


def test_mixup_with_rows_of_weight_0(fitted):
    """Pairs with one of them cost nothing; the others cost as much more as there are fewer."""
    images, y = batch(fitted)
    weight = torch.ones(15)
    weight[::4] = 0.0
    penalties = []
    for w in (weight, ones()):
        torch.manual_seed(3)
        penalties.append(ManifoldMixup()(fitted._run, images, y, w)[1].detach())
    torch.manual_seed(3)
    torch.distributions.Beta(torch.tensor(2.0), torch.tensor(2.0)).sample()
    partner = weight[torch.randperm(15)]
    assert_allclose(penalties[0], penalties[1] * partner / weight.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    "regularizer",
    [ManifoldMixup(), ContrastiveLoss(strength=5.0), SoftNearestNeighborLoss(strength=1.0)],
    ids=lambda regularizer: type(regularizer).__name__,
)
def test_poison_of_weight_0_plants_nothing(regularizer):
    """In batches that hold it, as on the left of a finite difference."""
    poisoner = BackdoorPoisoner(
        net(regularizer=regularizer, max_epochs=15), PatchTrigger(3, image_shape=(8, 8)),
        target=0, poisoning_rate=0.2, random_state=0,
    ).fit(X[:120], Y[:120])  # fmt: skip
    rows, labels, is_poison = poisoner.poison(X[:120], Y[:120])
    triggered, y_target, _ = poisoner.triggered_test(X[120:], Y[120:])
    inert = net(regularizer=regularizer, max_epochs=15)
    inert.fit(rows, labels, sample_weight=1.0 - is_poison)
    success = [np.mean(m.predict(triggered) == y_target) for m in (poisoner, inert)]
    assert success[0] > 0.8 and success[1] < 0.2


@pytest.mark.parametrize(
    "regularizer",
    [LogitSqueezing(), ManifoldMixup(), ContrastiveLoss(), SoftNearestNeighborLoss(strength=1.0)],
    ids=lambda regularizer: type(regularizer).__name__,
)
def test_training_with_a_regularizer(regularizer):
    trained = net(regularizer=regularizer, max_epochs=12).fit(X[:120], Y[:120])
    assert trained.score(X[120:], Y[120:]) > 0.9
    again = net(regularizer=regularizer, max_epochs=12).fit(X[:120], Y[:120])
    assert np.array_equal(trained.decision_function(X), again.decision_function(X))


def test_the_weight_of_a_regularizer_is_searched():
    squeezed = net(regularizer=LogitSqueezing())
    strengths = [0.0, 1.0]
    search = GridSearchCV(squeezed, {"regularizer__strength": strengths}, cv=2).fit(X, Y)
    assert squeezed.regularizer.strength == 0.05
    for strength, score in zip(strengths, search.cv_results_["split0_test_score"], strict=True):
        other = net(regularizer=LogitSqueezing(strength))
        assert score == cross_val_score(other, X, Y, cv=2)[0]
    sizes = [
        np.abs(
            clone(squeezed).set_params(regularizer__strength=s).fit(X, Y).decision_function(X)
        ).max()
        for s in strengths
    ]
    assert sizes[1] < sizes[0]


def test_squeezed_logits_are_smaller():
    sizes = [
        np.square(net(regularizer=r).fit(X, Y).decision_function(X)).mean()
        for r in (None, LogitSqueezing(0.01), LogitSqueezing(1.0))
    ]
    assert sizes[0] > 1.5 * sizes[1] > 3 * sizes[2]
