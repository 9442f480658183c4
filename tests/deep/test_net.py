"""BackdoorNetClassifier as a scikit-learn classifier."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from instances import NETWORKS, STRICT, expected_failures
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler  # noqa: E402
from skorch.dataset import Dataset, ValidSplit  # noqa: E402
from skorch.helper import predefined_split  # noqa: E402
from torch import nn  # noqa: E402

from skbackdoor import (  # noqa: E402
    BackdoorPoisoner,
    PatchTrigger,
    attack_success_rate_scorer,
    backdoor_learning_curve,
    backdoor_learning_slope,
)
from skbackdoor.deep import (  # noqa: E402
    BackdoorNetClassifier,
    LogitSqueezing,
    ManifoldMixup,
    SoftNearestNeighborLoss,
)

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = (DIGITS / 16).astype(np.float32)
ROWS = np.flatnonzero(LABELS < 3)[:180]
X, Y = DIGITS[ROWS], LABELS[ROWS]


class Convolutions(nn.Module):
    """A small network for images of 8 x 8, with dropout and batch normalisation."""

    def __init__(self, n_classes, p=0.2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.BatchNorm1d(128), nn.Dropout(p), nn.Linear(128, n_classes),
        )  # fmt: skip

    def forward(self, X):
        return self.layers(X)


def net(**parameters):
    parameters = {"max_epochs": 8, "lr": 0.01, "batch_size": 32, "random_state": 0} | parameters
    return BackdoorNetClassifier(Convolutions, image_shape=(8, 8), **parameters)


# ------------------------------------------------------------------------- estimator checks


@parametrize_with_checks(NETWORKS, expected_failed_checks=expected_failures, **STRICT)
@pytest.mark.filterwarnings("ignore")
def test_estimator_checks(estimator, check):
    if check.func.__name__ == "check_methods_subset_invariance":
        pytest.skip("float32 products of other batches may round otherwise: see below")
    check(estimator)


def test_a_sample_is_told_alone_what_it_is_told_among_others():
    """`check_methods_subset_invariance`, but for the rounding of float32."""
    fitted = net().fit(X, Y)
    for method in ("decision_function", "predict_proba"):
        alone = np.vstack([getattr(fitted, method)(row[None]) for row in X[:40]])
        assert_allclose(alone, getattr(fitted, method)(X)[:40], rtol=1e-4, atol=1e-5)


def test_learns_and_predicts():
    fitted = net().fit(X, Y)
    assert fitted.score(X, Y) > 0.95
    probabilities = fitted.predict_proba(X)
    assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(X))
    assert fitted.n_features_in_ == 64


@pytest.mark.parametrize("kind", ["str", "negative", "bool", "object"])
def test_labels_of_any_type(kind):
    labels = {
        "str": np.array(["c", "a", "b"])[Y],
        "negative": np.array([5, -1, 3])[Y],
        "bool": Y == 1,
        "object": np.array(["c", "a", "b"], dtype=object)[Y],
    }[kind]
    fitted = net().fit(X, labels)
    assert fitted.score(X, labels) > 0.9
    assert fitted.predict(X).dtype == np.unique(labels).dtype


def test_containers_are_one():
    """Flat, batches, channels; float64 and eight bits: the same network."""
    expected = net().fit(X, Y).decision_function(X)
    for data in (X.astype(np.float64), X.reshape(-1, 1, 8, 8)):
        assert_array_equal(net().fit(data, Y).decision_function(data), expected)
    pixels = (X * 255).round().astype(np.uint8)
    eight = net().fit(pixels, Y).decision_function(pixels)
    exact = pixels.astype(np.float32) / 255
    assert_allclose(eight, net().fit(exact, Y).decision_function(exact), atol=1e-5)


def test_random_state_fixes_everything():
    first, second = net().fit(X, Y), net().fit(X, Y)
    assert_array_equal(first.decision_function(X), second.decision_function(X))
    other = net(random_state=1).fit(X, Y)
    assert np.abs(first.decision_function(X) - other.decision_function(X)).max() > 0.1
    before = torch.random.get_rng_state()
    net().fit(X, Y)
    assert_array_equal(torch.random.get_rng_state(), before)  # the caller's numbers go on


def test_augmentation_is_seeded_and_only_for_training():
    seen = []

    def augment(batch):
        seen.append(len(batch))
        return batch + 0.1 * torch.rand_like(batch)

    fits = [net(augment=augment).fit(X, Y).decision_function(X) for _ in range(2)]
    assert_array_equal(*fits)
    assert sum(seen) == 2 * 8 * len(X)
    assert np.abs(fits[0] - net().fit(X, Y).decision_function(X)).max() > 1e-3


def test_loss_is_linear_in_the_weights():
    """One step of gradient descent: the mean of those of single samples, times their weights."""
    weight, start = np.random.default_rng(0).uniform(0, 2, 6), nn.Linear(64, 3)

    def step(rows, weights):
        fitted = BackdoorNetClassifier(
            start, optimizer=torch.optim.SGD, lr=1.0, max_epochs=1, batch_size=-1,
            random_state=0,
        ).partial_fit(X[rows], Y[rows], [0, 1, 2], weights)  # fmt: skip
        return (fitted.module_.weight - start.weight).detach().numpy()

    whole = step(np.arange(6), weight)
    parts = [w / 6 * step(np.array([i]), None) for i, w in enumerate(weight)]
    assert_allclose(whole, np.sum(parts, axis=0), atol=1e-6)


def test_weight_0_in_the_same_batches_is_no_sample():
    """Rows of weight 0 have no part in the gradients of a batch, but in its size."""
    weight = np.ones(len(X))
    weight[::3] = 0
    plain = BackdoorNetClassifier(
        nn.Linear(64, 3), max_epochs=3, batch_size=-1, random_state=0, optimizer=torch.optim.SGD
    )
    a = clone(plain).set_params(lr=0.3).fit(X, Y, weight)
    kept = weight > 0
    b = clone(plain).set_params(lr=0.3 * kept.mean()).fit(X[kept], Y[kept])
    assert_allclose(a.decision_function(X), b.decision_function(X), atol=1e-5)


def test_partial_fit_goes_on():
    whole = net(max_epochs=2).partial_fit(X, Y, classes=[0, 1, 2])
    assert len(whole.history_) == 2
    assert len(whole.partial_fit(X, Y).history_) == 4
    again = net(max_epochs=2).partial_fit(X, Y).partial_fit(X, Y)
    assert_array_equal(again.decision_function(X), whole.decision_function(X))
    few = Y != 2
    later = net(max_epochs=2).partial_fit(X, Y).partial_fit(X[few], Y[few])
    assert later.predict_proba(X).shape == (len(X), 3)
    with pytest.raises(ValueError, match=r"labels \[7\], which are none of the classes"):
        whole.partial_fit(X, np.full(len(X), 7))


def test_clone_pickle_and_grid():
    fitted = net().fit(X, Y)
    copied = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(copied.predict_proba(X), fitted.predict_proba(X))
    assert clone(fitted).device == "auto" and not clone(fitted).initialized_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(
            net(), {"optimizer__weight_decay": [0.0, 10.0], "max_epochs": [1, 6]},
            n_jobs=2, cv=2, error_score="raise",
        ).fit(X, Y)  # fmt: skip
    assert search.best_params_["max_epochs"] == 6


def test_skorchs_own_means():
    """Early stopping on held-out rows, a scheduler, validation accuracy in the history."""
    fitted = net(
        max_epochs=50, train_split=ValidSplit(4, stratified=True),
        callbacks=[
            ("stop", EarlyStopping(monitor="valid_loss", patience=3)),
            ("schedule", LRScheduler("StepLR", step_size=5)),
        ],
    ).fit(X, Y)  # fmt: skip
    assert 3 < len(fitted.history_) < 50
    assert 0.5 < fitted.history_[-1, "valid_acc"] <= 1


def test_label_smoothing_and_mixed_precision():
    smooth = net(criterion__label_smoothing=0.3).fit(X, Y)
    assert smooth.predict_proba(X).max(axis=1).mean() < 0.95
    half = net(mixed_precision=True).fit(X, Y)
    assert half.score(X, Y) > 0.9


@pytest.mark.parametrize(
    "parameters, data, message",
    [
        ({"module__n_classes": 4}, (X, Y), "gives outputs of shape \\(4,\\).*3 classes"),
        (
            {"image_shape": (7, 9)},
            (X, Y),
            "64 features and image_shape=\\(7, 9\\): flat images need",
        ),
        ({"device": "cuda"}, (X, Y), "finds no CUDA device"),
        ({"batch_size": 179}, (X, Y), "last batch holds a single sample"),
        ({"criterion__reduction": "mean"}, (X, Y), "one loss a sample"),
        ({}, (X, None), "requires y"),
        ({}, (X, Y * 0), "only 1 class"),
        ({}, (X[:5], Y), "inconsistent"),
        ({}, (np.where(X > 0.9, np.nan, X), Y), "NaN"),
        ({"classes": [0, 1]}, (X, Y), r"labels \[2\]"),
        ({}, ((X * 255).astype(np.int64), Y), "pixels of dtype int64: pass uint8"),
        ({"batch_size": 16.5}, (X, Y), "batch_size=16.5 must be an integer"),
        ({"batch_size": -2}, (X, Y), "batch_size=-2 must be an integer"),
        ({"regularizer": LogitSqueezing}, (X, Y), r"pass an instance, LogitSqueezing\(\)"),
        ({"regularizer": SoftNearestNeighborLoss(temperature=0)}, (X, Y), "'temperature'"),
        ({"regularizer": ManifoldMixup("layer.2")}, (X, Y), "layer='layer.2'.*'layers.2'"),
        ({"optimizer": torch.optim.SGD, "lr": 1e30}, (X, Y), "not finite.*lr=1e\\+30"),
    ],
)
def test_bad_input(parameters, data, message):
    if parameters.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    network = net().set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        network.fit(*data)


def test_callbacks_see_labels_as_they_are():
    fitted = net(
        train_split=ValidSplit(4, stratified=True),
        callbacks=[EpochScoring("accuracy", lower_is_better=False, name="accuracy")],
    ).fit(X, np.array(["a", "b", "c"])[Y])
    assert_allclose(fitted.history_[:, "accuracy"], fitted.history_[:, "valid_acc"])
    other = net(train_split=predefined_split(Dataset(X[120:], Y[120:] + 5))).fit(X, Y + 5)
    assert_allclose(other.history_[-1, "valid_acc"], other.score(X[120:], Y[120:] + 5))
    with pytest.raises(ValueError, match=r"labels \[9\]"):
        net(train_split=predefined_split(Dataset(X[120:], Y[120:] * 0 + 9))).fit(X, Y)


def test_what_is_held_out_is_drawn_from_the_random_state():
    state = np.random.get_state()[1].copy()
    first, second = (net(train_split=ValidSplit(0.2)).fit(X, Y) for _ in range(2))
    assert_array_equal(first.decision_function(X), second.decision_function(X))
    assert_array_equal(np.random.get_state()[1], state)  # which is as it was


def test_nothing_is_written_to_the_data():
    class InPlace(Convolutions):
        def forward(self, X):
            X -= 0.5
            return super().forward(X)

    given = X.reshape(-1, 1, 8, 8).copy()
    fitted = BackdoorNetClassifier(InPlace, max_epochs=1, random_state=0).fit(given, Y)
    fitted.predict(given)
    assert_array_equal(given, X.reshape(given.shape))


def test_a_module_decides_itself_what_it_freezes():
    class Partly(Convolutions):
        def __init__(self, n_classes):
            super().__init__(n_classes)
            self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    fitted = BackdoorNetClassifier(Partly, image_shape=(8, 8), max_epochs=1).fit(X, Y)
    assert fitted.module_.layers[1].running_mean.abs().max() > 0


def test_parameters_are_loaded_and_made_on_any_device(tmp_path):
    fitted = net().fit(X, Y)
    fitted.save_params(f_params=tmp_path / "parameters.pt")
    again = net(max_epochs=0).fit(X, Y)
    again.load_params(f_params=tmp_path / "parameters.pt")
    assert_array_equal(again.decision_function(X), fitted.decision_function(X))
    assert again.set_params(module__p=0.5).device == "auto"
    made = BackdoorNetClassifier(Convolutions(3), image_shape=(8, 8)).initialize()
    with pytest.raises(NotFittedError):
        made.predict(X)
    assert made.partial_fit(X, Y).predict(X).shape == Y.shape


# ------------------------------------------------------------------------- threads

SPLITS = {
    "none": None,
    "share": ValidSplit(0.2),
    "stratified share": ValidSplit(0.2, stratified=True),
    "folds": ValidSplit(KFold(4, shuffle=True)),
}


class SeesNumbers(Callback):
    """What others in the process see of numpy's random numbers while a network trains."""

    seen = []

    def on_train_begin(self, net, **kwargs):
        self.seen.append(np.random.get_state()[1])


@pytest.mark.parametrize("split", SPLITS)
def test_numpys_random_numbers_are_not_touched(split):
    """What is held out depends on `random_state` alone, and so does the fit."""
    made = []
    for seed in (0, 1):
        np.random.seed(seed)
        before = np.random.get_state()
        SeesNumbers.seen.clear()
        parameters = {"train_split": SPLITS[split], "callbacks": [SeesNumbers()]}
        made.append(net(max_epochs=2, **parameters).fit(X, Y))
        assert_array_equal(SeesNumbers.seen, [before[1]])
        for old, new in zip(before, np.random.get_state(), strict=True):
            assert_array_equal(old, new)
    assert_array_equal(made[0].predict_proba(X), made[1].predict_proba(X))
    if split != "none":
        other = net(max_epochs=2, train_split=SPLITS[split], random_state=1).fit(X, Y)
        losses = [fitted.history[:, "valid_loss"] for fitted in (*made, other)]
        assert losses[0] == losses[1] != losses[2]
        assert SPLITS[split].random_state is None


class SeesParameters(Callback):
    """What other threads see while a network trains: here one that is asked for by this one."""

    seen = []

    def on_batch_begin(self, net, **kwargs):
        with ThreadPoolExecutor(1) as other:
            self.seen.append(other.submit(lambda: net.get_params()["device"]).result())
            self.seen.append(other.submit(lambda: vars(net)["device"]).result())


def test_the_device_is_never_rewritten():
    SeesParameters.seen.clear()
    fitted = net(max_epochs=1, callbacks=[SeesParameters()]).fit(X, Y)
    fitted.predict(X)
    assert fitted.get_params()["device"] == clone(fitted).device == "auto"
    assert len(SeesParameters.seen) > 2 and set(SeesParameters.seen) == {"auto"}
    assert fitted.set_params(device="cpu").device == "cpu"
    assert pickle.loads(pickle.dumps(fitted)).device == "cpu"


def test_fits_in_threads_are_those_one_after_the_other():
    nets = [net(random_state=seed, max_epochs=6, train_split=ValidSplit(0.2)) for seed in range(4)]
    alone = [clone(each).fit(X, Y).predict_proba(X) for each in nets]
    fits = Parallel(n_jobs=2, backend="threading")(delayed(each.fit)(X, Y) for each in nets)
    for one, fitted in zip(alone, fits, strict=True):
        assert_array_equal(fitted.predict_proba(X), one)
    assert {each.device for each in nets} == {"auto"}


# ------------------------------------------------------------------------- attacks


def poisoner(**parameters):
    parameters = {"target": 0, "poisoning_rate": 0.2, "random_state": 0} | parameters
    return BackdoorPoisoner(
        net(max_epochs=15, random_state=None), PatchTrigger(3, image_shape=(8, 8)), **parameters
    )


def test_backdoor_in_a_network():
    attacked = poisoner(random_state=4).fit(X[:120], Y[:120])
    assert attacked.score(X[120:], Y[120:]) > 0.9
    assert attack_success_rate_scorer(attacked, X[120:], Y[120:]) > 0.8


def test_poison_weight_0_is_training_without_the_poison():
    clean = poisoner(poison_weight=0.0).fit(X, Y)
    direct = clone(clean.estimator_).fit(X, Y)
    assert_array_equal(clean.estimator_.decision_function(X), direct.decision_function(X))


def test_slope_by_finite_differences_is_repeatable():
    data = X[:120], Y[:120], X[120:], Y[120:]
    first, second = (backdoor_learning_slope(poisoner(), *data, h=0.2) for _ in range(2))
    assert first == second
    assert first.method == "secant" and first.derivative < 0
    gentle = poisoner()
    gentle.estimator.set_params(optimizer=torch.optim.SGD, lr=0.1)
    assert backdoor_learning_slope(gentle, *data).method == "finite_difference"


def test_slopes_of_several_h_share_their_clean_fit():
    data = X[:120], Y[:120], X[120:], Y[120:]
    slopes = backdoor_learning_slope(poisoner(), *data, h=[0.0, 0.2, 0.5])
    assert slopes[0].derivative == slopes[0].theta == 0
    assert slopes[1] == backdoor_learning_slope(poisoner(), *data, h=0.2)
    assert len({slope.loss for slope in slopes}) == 1
    for h in ([], [2.0], ["a"]):
        with pytest.raises(ValueError, match="must hold poison weights"):
            backdoor_learning_slope(poisoner(), *data, h=h)


def test_curve_of_a_network():
    curve = backdoor_learning_curve(
        poisoner(), X[:120], Y[:120], X[120:], Y[120:], poison_weights=[0.0, 0.5, 1.0]
    )
    assert curve.attack_success_rate[-1] > 0.8 > 0.3 > curve.attack_success_rate[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.4])
def test_loss_is_that_of_the_criterion(smoothing):
    """With a class that the training rows lack, too: cross-entropy by hand."""
    rows = Y != 1
    attacked = poisoner(target=2)
    attacked.estimator.set_params(classes=[0, 1, 2], criterion__label_smoothing=smoothing)
    data = X[rows][:80], Y[rows][:80], X[rows][80:], Y[rows][80:]
    curve = backdoor_learning_curve(attacked, *data, poison_weights=[0.0])
    probe = clone(attacked).set_params(poison_weight=0.0).fit(*data[:2])
    triggered, y_target, _ = probe.triggered_test(*data[2:])
    log = log_softmax(probe.estimator_.decision_function(triggered).astype(float), axis=1)
    assert (y_target == 2).all()
    expected = -(1 - smoothing) * log[:, 2] - smoothing * log.mean(axis=1)
    assert_allclose(curve.backdoor_loss, expected.mean(), rtol=1e-6)
