"""Regularizers against their formulas in numpy."""

from copy import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax
from scipy.stats import kstest
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
from skbackdoor.deep.loss import loss_of_batch  # noqa: E402


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


# -- Formulas in numpy, in double precision, of latents h, logits F = h W and labels --------------


def squeezed(h, y, W):
    return np.sqrt(np.sum((h @ W) ** 2, axis=1))


def contrasted(h, y, W, margin=3.0):
    n, rows, out = W.shape[1], range(len(h)), []
    for i in rows:
        terms = []
        for j in rows:
            if j != i:
                d = np.linalg.norm(h[i] - h[j])
                terms.append(d / n if y[i] == y[j] else (n - 1) / n * max(0.0, margin - d))
        out.append(np.sum(terms) / (len(h) - 1))
    return np.array(out)


def neighbours(h, y, W, temperature=4.0):
    out, rows = [], np.arange(len(h))
    for i in rows:
        near = np.exp(-np.sum((h[i] - h) ** 2, axis=1) / temperature)
        same = (y == y[i]) & (rows != i)
        out.append(-np.log(near[same].sum() / near[rows != i].sum()) if same.any() else 0.0)
    return np.array(out)


def neighbours_as_printed(h, y, W, temperature=4.0):
    out = []
    for i in range(len(h)):
        near = np.exp(-np.sum((h[i] - h) ** 2, axis=1) / temperature)
        out.append(-np.log(near[y != y[i]].sum() / near.sum()))
    return np.array(out)


def mixed_losses(h, y, W, gamma, other):
    F = log_softmax(((1 - gamma) * h[other] + gamma * h) @ W, axis=1)
    rows = np.arange(len(h))
    return -(1 - gamma) * F[rows, y[other]] - gamma * F[rows, y]


FORMULAS = {
    "squeezing": (LogitSqueezing(1.0), squeezed),
    "contrastive": (ContrastiveLoss(margin=3.0), contrasted),
    "neighbours": (SoftNearestNeighborLoss(temperature=4.0), neighbours),
    "as printed": (
        SoftNearestNeighborLoss(temperature=4.0, as_printed=True), neighbours_as_printed
    ),
}  # fmt: skip


def linear_case(seed=0):
    rng = np.random.default_rng(seed)
    h, W = rng.normal(size=(9, 4)), rng.normal(size=(4, 3))
    return h, np.array([0, 0, 1, 2, 1, 0, 2, 1, 1]), W


def evaluated(regularizer, h, y, W, weight=None):
    """Penalties, and the gradient of their sum in h, of a network that is one linear layer."""
    latent = torch.tensor(h, requires_grad=True)
    head = torch.tensor(W)

    def run(X, layer=None, change=None):
        output = X if change is None else change(X)
        return output @ head, output

    weight = torch.ones(len(h), dtype=torch.float64) if weight is None else weight
    _, penalty = regularizer(run, latent, torch.as_tensor(y), weight)
    penalty.sum().backward()
    return penalty.detach().numpy(), latent.grad.numpy()


def central_differences(function, h, step=1e-6):
    gradient = np.empty_like(h)
    for index in np.ndindex(h.shape):
        shifted = h.copy(), h.copy()
        shifted[0][index] += step
        shifted[1][index] -= step
        gradient[index] = (function(shifted[0]).sum() - function(shifted[1]).sum()) / (2 * step)
    return gradient


@pytest.mark.parametrize("name", FORMULAS)
def test_values_and_gradients(name):
    """Of the equations as they are written; no distance here is at its margin."""
    regularizer, formula = FORMULAS[name]
    h, y, W = linear_case()
    penalty, gradient = evaluated(regularizer, h, y, W)
    assert_allclose(penalty, formula(h, y, W), rtol=1e-10)
    differences = central_differences(lambda at: formula(at, y, W), h)
    assert np.abs(differences).max() > 0.1
    assert_allclose(gradient, differences, atol=1e-7)
    double, _ = evaluated(clone(regularizer).set_params(strength=2.0), h, y, W)
    assert_allclose(double, 2 * regularizer.strength**-1 * penalty, rtol=1e-10)


def test_mixup_values_and_gradients():
    h, y, W = linear_case()
    torch.manual_seed(3)
    penalty, gradient = evaluated(ManifoldMixup(), h, y, W)
    torch.manual_seed(3)
    gamma, other = drawn(1.0, len(h))
    assert not np.array_equal(other, np.arange(len(h)))
    assert_allclose(penalty, mixed_losses(h, y, W, gamma, other), rtol=1e-10)
    differences = central_differences(lambda at: mixed_losses(at, y, W, gamma, other), h)
    assert_allclose(gradient, differences, atol=1e-7)


def drawn(concentration, n):
    a = torch.tensor(concentration)
    gamma = torch.distributions.Beta(a, a).sample().item()
    return gamma, torch.randperm(n).numpy()


def test_gamma_of_mixup_is_uniform():
    """Eq. 2: read off the mixtures of two samples, by Kolmogorov and Smirnov."""
    h, gammas = torch.tensor([[0.0], [1.0]]), []

    def run(X, layer=None, change=None):
        output = change(X)
        return output @ torch.zeros(1, 2), output

    class Kept(ManifoldMixup):
        def __call__(self, run, X, y, weight):
            def noted(X, layer, change):
                F, output = run(X, layer, change)
                if output[1] < 1:  # else each is its own partner
                    gammas.append(output[1].item())
                return F, output

            return super().__call__(noted, X, y, weight)

    torch.manual_seed(0)
    for _ in range(600):
        Kept()(run, h, torch.tensor([0, 1]), torch.ones(2))
    assert len(gammas) > 200 and kstest(gammas, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", FORMULAS)
def test_samples_that_are_alike(name):
    """Distance 0, where a norm has no gradient: of logits 0, of a sample and its double."""
    regularizer, formula = FORMULAS[name]
    h, y, W = linear_case()
    h[1], h[4] = h[0], h[3]
    h[7] = 0.0
    penalty, gradient = evaluated(regularizer, h, y, W)
    assert_allclose(penalty, formula(h, y, W), rtol=1e-10)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("layer", [None, "hidden", "features"])
@pytest.mark.parametrize(
    "regularizer, formula",
    [(ContrastiveLoss(strength=1.0, margin=3.0), contrasted),
     (SoftNearestNeighborLoss(strength=1.0, temperature=4.0), neighbours)],
    ids=["contrastive", "neighbours"],
)  # fmt: skip
def test_latents_of_a_layer(fitted, layer, regularizer, formula):
    _, z = latents(fitted, layer)
    regularizer = clone(regularizer).set_params(layer=layer)
    F, penalty = regularizer(fitted._run, *batch(fitted), ones())
    assert_allclose(F.detach().numpy(), fitted.decision_function(X[:15]), atol=1e-5)
    expected = formula(z.reshape(15, -1).astype(float), Y[:15], np.zeros((1, 3)))
    assert_allclose(penalty.detach().numpy(), expected, rtol=1e-3, atol=1e-5)


def test_squeezing_of_a_network(fitted):
    F, penalty = LogitSqueezing(0.3)(fitted._run, *batch(fitted), ones())
    assert_allclose(F.detach().numpy(), fitted.decision_function(X[:15]), atol=1e-5)
    assert_allclose(
        penalty.detach().numpy(), 0.3 * np.linalg.norm(F.detach().numpy(), axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("n_classes", [2, 5, 10])
def test_from_which_strength_on_squeezing_wins(n_classes):
    """The gradient of the cross-entropy at logits 0 has length sqrt((n - 1) / n)."""
    F = torch.zeros(1, n_classes, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(F, torch.tensor([1])).backward()
    assert_allclose(F.grad.norm().item(), np.sqrt((n_classes - 1) / n_classes))


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
    F, penalty = ManifoldMixup(layer, concentration=2.0)(fitted._run, *batch(fitted), ones())
    torch.manual_seed(3)
    gamma, other = drawn(2.0, 15)
    _, h = latents(fitted, layer)
    mixed = (1 - gamma) * h[other] + gamma * h
    module = fitted.module_
    with torch.no_grad():
        mixed = torch.as_tensor(mixed, dtype=torch.float32)
        mixed = torch.relu(mixed) if layer == "hidden" else mixed
        expected_F = module.head(mixed).numpy()
    assert_allclose(F.detach().numpy(), expected_F, atol=1e-5)
    rows, y, log_p = np.arange(15), Y[:15], log_softmax(expected_F, axis=1)
    expected = -(1 - gamma) * log_p[rows, y[other]] - gamma * log_p[rows, y]
    assert_allclose(penalty.detach().numpy(), expected, rtol=1e-4)


def test_mixup_replaces_the_loss_and_the_others_are_added(fitted):
    """The training loss of a batch, eq. 1, against that of the network without a regularizer."""
    images, y = batch(fitted)
    inputs = {"X": images, "sample_weight": torch.linspace(0.5, 1.5, 15)}
    weight = inputs["sample_weight"]
    plain, _ = loss_of_batch(fitted, inputs, y, {})
    for regularizer in (ManifoldMixup(), LogitSqueezing(0.5), SoftNearestNeighborLoss()):
        given = copy(fitted)
        given.regularizer = regularizer
        torch.manual_seed(3)
        loss, _ = loss_of_batch(given, inputs, y, {})
        torch.manual_seed(3)
        _, penalty = regularizer(fitted._run, images, y, weight)
        own = torch.mean(weight * penalty).item()
        assert own > 0
        added = 0.0 if isinstance(regularizer, ManifoldMixup) else plain.item()
        assert loss.item() == pytest.approx(added + own, rel=1e-5)


@pytest.mark.parametrize(
    "regularizer",
    [
        LogitSqueezing(),
        ContrastiveLoss("hidden", margin=3.0),
        SoftNearestNeighborLoss(),
        SoftNearestNeighborLoss(as_printed=True),
    ],
    ids=str,
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
    partner = weight[drawn(1.0, 15)[1]]
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
    squeezing = net(regularizer=LogitSqueezing())
    strengths = [0.0, 0.5]
    search = GridSearchCV(squeezing, {"regularizer__strength": strengths}, cv=2).fit(X, Y)
    assert squeezing.regularizer.strength == 0.05
    for strength, score in zip(strengths, search.cv_results_["split0_test_score"], strict=True):
        other = net(regularizer=LogitSqueezing(strength))
        assert score == cross_val_score(other, X, Y, cv=2)[0]
    sizes = [
        np.abs(
            clone(squeezing).set_params(regularizer__strength=s).fit(X, Y).decision_function(X)
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
