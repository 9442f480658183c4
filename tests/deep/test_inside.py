"""Regularizers against their formulas in numpy; Grad-CAM by hand; retraining."""

from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackdoor import BackdoorPoisoner, GradCAMDisplay, PatchTrigger
from skbackdoor.defenses import CleanRetraining

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from skorch.callbacks import Checkpoint, EarlyStopping, LRScheduler  # noqa: E402
from skorch.dataset import ValidSplit  # noqa: E402
from torch import nn  # noqa: E402

from skbackdoor.deep import (  # noqa: E402
    BackdoorNetClassifier,
    ContrastiveLoss,
    LogitSqueezing,
    ManifoldMixup,
    SoftNearestNeighborLoss,
    feature_maps,
    grad_cam,
    image_classifier,
    last_layer_slope,
)

DIGITS, LABELS = load_digits(return_X_y=True)
ROWS = np.flatnonzero(LABELS < 3)[:240]
X, Y = (DIGITS[ROWS] / 16).astype(np.float32), LABELS[ROWS]
DATA = X[:120], Y[:120], X[120:180], Y[120:180], X[180:], Y[180:]


class Network(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU())
        self.hidden = nn.Linear(6 * 64, 20)
        self.head = nn.Linear(20, n_classes)

    def forward(self, images):
        return self.head(torch.relu(self.hidden(self.features(images).flatten(1))))


def net(**parameters):
    parameters = {"max_epochs": 6, "lr": 0.01, "batch_size": 30, "random_state": 0} | parameters
    return BackdoorNetClassifier(Network, image_shape=(8, 8), **parameters)


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


# ------------------------------------------------------------------------- formulas


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


# ------------------------------------------------------------------------- looking inside


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


def test_slope_of_the_last_layer():
    """That of logistic regression on what the head of the clean network sees, by hand."""
    poisoner = attacked(net())
    slope = last_layer_slope(poisoner, *DATA[:4], C=0.5)
    assert slope.method == "implicit, last layer" and slope.residual < 1e-8
    clean = net(random_state=poisoner.estimator_.random_state).fit(*DATA[:2])
    rows = poisoner.poisoned_indices_
    triggered = poisoner.trigger_.transform(DATA[0])

    def inputs(images):
        with torch.no_grad():
            images = torch.as_tensor(images).reshape(-1, 1, 8, 8)
            return clean._run(images)[1].numpy().astype(float)

    Z, P = inputs(DATA[0]), inputs(triggered[rows])
    sources = DATA[3] != 0
    T = inputs(poisoner.trigger_.transform(DATA[2][sources]))
    losses = []
    for beta in (0.0, 1e-6):
        head = LogisticRegression(C=0.5, tol=1e-12, solver="newton-cholesky")
        weight = np.r_[np.ones(len(Z)), np.full(len(P), beta)]
        head.fit(np.r_[Z, P], np.r_[DATA[1], np.zeros(len(P))], weight)
        losses.append(-head.predict_log_proba(T)[:, 0].mean())
    assert_allclose(slope.derivative, (losses[1] - losses[0]) / 1e-6, rtol=1e-2)
    with pytest.raises(TypeError, match="around a BackdoorNetClassifier, not around SGD"):
        last_layer_slope(attacked(SGDClassifier()), *DATA[:4])


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


def test_the_last_layer_must_be_the_last():
    class Reversed(nn.Module):
        def __init__(self, n_classes):
            super().__init__()
            self.head, self.body = nn.Linear(16, n_classes), nn.Linear(64, 16)

        def forward(self, X):
            return self.head(torch.relu(self.body(X)))

    with pytest.raises(ValueError, match="no linear function of what 'body' sees"):
        last_layer_slope(attacked(BackdoorNetClassifier(Reversed, random_state=0)), *DATA[:4])


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


# ------------------------------------------------------------------------- retraining


def attacked(learner):
    trigger = PatchTrigger(3, image_shape=(8, 8), position="center")
    return BackdoorPoisoner(learner, trigger, target=0, poisoning_rate=0.2, random_state=9).fit(
        *DATA[:2]
    )


@pytest.mark.parametrize("kind", ["network", "sgd", "pipeline", "warm start"])
def test_retraining_takes_the_backdoor_out(kind):
    learner = {
        "network": net(max_epochs=15),
        "sgd": SGDClassifier(loss="log_loss"),
        "pipeline": make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss")),
        "warm start": LogisticRegression(C=100, max_iter=300),
    }[kind]
    poisoner = attacked(learner)
    before = poisoner.predict(X)
    retrained = CleanRetraining(poisoner, n_epochs=60).fit(*DATA[2:4])
    report = retrained.report(*DATA[4:])
    assert report.attack_success_before > 0.8
    much = 1 / 3 if kind in ("network", "warm start") else 0.9
    assert report.attack_success_after < much * report.attack_success_before
    assert report.accuracy_after > report.accuracy_before - 0.05
    assert np.array_equal(poisoner.predict(X), before)  # a copy was trained
    params = {k: v for k, v in poisoner.estimator_.get_params(deep=False).items() if k != "steps"}
    after = retrained.estimator_.get_params(deep=False)
    assert all(
        after[k] is v or after[k] == v
        for k, v in params.items()
        if k in ("max_iter", "warm_start", "max_epochs")
    )


def test_retraining_of_what_cannot_be():
    with pytest.raises(TypeError, match="neither partial_fit nor"):
        CleanRetraining(KNeighborsClassifier().fit(X, Y)).fit(X, Y)
    with pytest.raises(ValueError, match=r"holds \[9\]"):
        CleanRetraining(GaussianNB().fit(X, Y)).fit(X, np.full(len(X), 9))
    with pytest.raises(ValueError, match="report needs the attack"):
        CleanRetraining(GaussianNB().fit(X, Y)).fit(X, Y).report(X, Y)
    with pytest.raises(ValueError, match=r"holds no sample of class \[2\]"):
        CleanRetraining(LogisticRegression().fit(X, Y)).fit(X[Y < 2], Y[Y < 2])


def test_retraining_chooses_nothing(tmp_path):
    """Neither the checkpoint of the poisoned model nor an early end; files stay as they are."""
    file = tmp_path / "params.pt"
    choosing = net(
        max_epochs=12, train_split=ValidSplit(4),
        callbacks=[("keep", Checkpoint(dirname=tmp_path, load_best=True)), EarlyStopping()],
    )  # fmt: skip
    poisoner = attacked(choosing)
    before = file.read_bytes()
    retrained = CleanRetraining(poisoner, n_epochs=9).fit(*DATA[2:4])
    model = retrained.estimator_
    assert len(model.history_) == 9 and file.read_bytes() == before
    plain = deepcopy(poisoner.estimator_)
    plain.train_split = None
    plain.set_params(callbacks=None, max_epochs=9).initialize_optimizer()
    plain.partial_fit(*DATA[2:4])
    assert np.array_equal(model.decision_function(X), plain.decision_function(X))
    assert model.max_epochs == 12 and model.train_split is not None
    assert np.array_equal(retrained.predict_proba(X), model.predict_proba(X))
    cooled = LRScheduler("StepLR", step_size=3, gamma=0.1, event_name="lr")
    poisoner.estimator_.set_params(lr=0.02, callbacks=[cooled])
    history = CleanRetraining(poisoner, n_epochs=5).fit(*DATA[2:4]).estimator_.history_
    assert_allclose(history[:, "lr"], [0.02, 0.02, 0.02, 0.002, 0.002])


def test_boosting_counts_on_and_liblinear_does_not():
    poisoner = attacked(HistGradientBoostingClassifier(max_iter=3))
    retrained = CleanRetraining(poisoner, n_epochs=4).fit(*DATA[2:4])
    assert retrained.estimator_.n_iter_ == 7
    model = LogisticRegression(solver="liblinear").fit(X, Y == 0)
    with pytest.raises(TypeError, match="LogisticRegression cannot be trained further"):
        CleanRetraining(model).fit(X, Y == 0)
