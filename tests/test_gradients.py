"""input_gradient: against tight differences of the decision values, and against closed forms."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC, NuSVC

from skbackdoor import BackdoorPoisoner, FeatureTrigger, input_gradient

X, LABELS = load_iris(return_X_y=True)
Y = np.array(["setosa", "versicolor", "virginica"])[LABELS]
SAMPLES = X[[3, 60, 88, 120]] + 0.01  # off the training rows


def own_kernel(A, B):
    return np.asarray(A) @ np.asarray(B).T + 0.1 * (np.asarray(A) @ np.asarray(B).T) ** 2


LEARNERS = {
    "ridge": (RidgeClassifier(), "chain rule"),
    "logistic": (LogisticRegression(max_iter=500), "chain rule"),
    "linear svc": (LinearSVC(), "chain rule"),
    "sgd": (SGDClassifier(random_state=0), "chain rule"),
    "lda": (LinearDiscriminantAnalysis(), "chain rule"),
    "svc linear": (SVC(kernel="linear"), "chain rule"),
    "svc rbf": (SVC(C=3.0), "chain rule"),
    "svc poly": (SVC(kernel="poly", coef0=0.5, degree=2), "chain rule"),
    "svc sigmoid": (SVC(kernel="sigmoid", gamma=0.01, coef0=0.1), "chain rule"),
    "svc ovo": (SVC(decision_function_shape="ovo"), "chain rule"),
    "nu-svc": (NuSVC(nu=0.2), "chain rule"),
    "own kernel": (SVC(kernel=own_kernel, decision_function_shape="ovo"), "finite_difference"),
    "bayes": (GaussianNB(), "finite_difference"),
    "qda": (QuadraticDiscriminantAnalysis(reg_param=0.1), "finite_difference"),
    "mlp": (MLPClassifier(activation="tanh", random_state=0, max_iter=40), "finite_difference"),
    "calibrated": (CalibratedClassifierCV(LinearSVC()), "finite_difference"),
}
BEFORE = {
    "standard": [StandardScaler()],
    "min-max": [MinMaxScaler()],
    "max-abs": [MaxAbsScaler()],
    "normalizer": [Normalizer()],
    "pca": [StandardScaler(), PCA(3, whiten=True)],
    "curved": [PolynomialFeatures(2), StandardScaler()],
}


def class_values(fitted, rows, label):
    """The definition: a column of decision_function, or the log-probability."""
    k = fitted.classes_.tolist().index(label)
    if not hasattr(fitted, "decision_function"):
        return np.log(fitted.predict_proba(rows)[:, k])
    F = fitted.decision_function(rows)
    if F.ndim == 1:
        return F if k == 1 else -F
    if getattr(fitted, "decision_function_shape", "ovr") == "ovo":
        pairs = [(0, 1), (0, 2), (1, 2)]
        return sum(((i == k) - float(j == k)) * F[:, p] for p, (i, j) in enumerate(pairs))
    return F[:, k]


def differences(fitted, rows, label, h=1e-5):
    """Fourth-order differences of the class's values."""
    columns = []
    for e in np.eye(rows.shape[1]) * h:
        at = [class_values(fitted, rows + c * e, label) for c in (-2, -1, 1, 2)]
        columns.append((at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_learners(name, n_classes):
    learner, method = LEARNERS[name]
    known = LABELS >= 3 - n_classes
    fitted = learner.fit(X[known], Y[known])
    for label in fitted.classes_:
        result = input_gradient(fitted, SAMPLES, label)
        assert result.method == method
        expected = differences(fitted, SAMPLES, label, h=1e-3 if name == "bayes" else 1e-4)
        assert np.abs(expected).max() > 1e-6
        atol = 1e-6 * np.abs(expected).max()
        assert_allclose(result.gradient, expected, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("learner", [RidgeClassifier(), SVC(), SVC(kernel="poly")], ids=str)
@pytest.mark.parametrize("name", BEFORE)
def test_preprocessing(name, learner):
    fitted = make_pipeline(*BEFORE[name], learner).fit(X, Y)
    result = input_gradient(fitted, SAMPLES, "virginica")
    assert result.method == "finite_difference"
    expected = differences(fitted, SAMPLES, "virginica", h=1e-4)
    assert_allclose(result.gradient, expected, atol=1e-6 * np.abs(expected).max())


def test_closed_form_behind_scaling_and_components():
    scaler, pca, learner = StandardScaler(), PCA(3), LogisticRegression()
    fitted = make_pipeline(scaler, pca, learner).fit(X, Y)
    found = input_gradient(fitted, SAMPLES, "setosa").gradient
    row = learner.coef_[0] @ pca.components_ / scaler.scale_
    assert_allclose(found, np.tile(row, (len(SAMPLES), 1)), rtol=1e-8)


def test_rbf_by_hand():
    known = LABELS > 0
    fitted = SVC(C=3.0, gamma=0.3).fit(X[known], Y[known])
    for x, found in zip(SAMPLES, input_gradient(fitted, SAMPLES, "versicolor").gradient,
                        strict=True):  # fmt: skip
        total = np.zeros(4)
        for a, s in zip(fitted.dual_coef_[0], fitted.support_vectors_, strict=True):
            total -= a * np.exp(-0.3 * np.sum((x - s) ** 2)) * -0.6 * (x - s)
        assert_allclose(found, total, rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_steps_follow_the_units(scale):
    units = np.array([scale, 1.0, 1.0 / scale, 1.0])
    fitted = GaussianNB(var_smoothing=0).fit(X * units, Y)
    same = GaussianNB(var_smoothing=0).fit(X, Y)
    found = input_gradient(fitted, SAMPLES * units, "virginica").gradient * units
    assert_allclose(found, input_gradient(same, SAMPLES, "virginica").gradient, rtol=1e-6)


def test_own_step():
    fitted = GaussianNB().fit(X, Y)
    found = input_gradient(fitted, SAMPLES, "setosa", step=0.5).gradient
    up, down = (class_values(fitted, SAMPLES + s * 0.5 * np.eye(4)[0], "setosa") for s in (1, -1))
    assert_allclose(found[:, 0], up - down, rtol=1e-10)


def test_blocks(monkeypatch):
    fitted = make_pipeline(StandardScaler(), SVC()).fit(X, Y)
    whole = input_gradient(fitted, SAMPLES, "setosa").gradient
    monkeypatch.setattr("skbackdoor.gradients._BLOCK", 12)
    assert_allclose(input_gradient(fitted, SAMPLES, "setosa").gradient, whole, rtol=1e-9)


def test_single_precision_takes_longer_steps():
    def rounded(A):
        return np.asarray(A, dtype=np.float32)

    fitted = make_pipeline(FunctionTransformer(rounded), StandardScaler(), SVC()).fit(X, Y)
    double = make_pipeline(StandardScaler(), SVC()).fit(X, Y)
    found = input_gradient(fitted, SAMPLES, "setosa").gradient
    expected = input_gradient(double, SAMPLES, "setosa").gradient
    assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_frames_batches_integers_and_poisoners():
    frame = pd.DataFrame(X, columns=list("abcd"))
    columns = make_column_transformer((StandardScaler(), ["d", "a"]), remainder="passthrough")
    fitted = make_pipeline(columns, SVC()).fit(frame, Y)
    found = input_gradient(fitted, frame[:4], "setosa").gradient
    plain = make_pipeline(
        make_column_transformer((StandardScaler(), [3, 0]), remainder="passthrough"), SVC()
    )
    assert_allclose(found, input_gradient(plain.fit(X, Y), X[:4], "setosa").gradient)

    flatten = FunctionTransformer(lambda A: A.reshape(len(A), -1))
    batches = make_pipeline(flatten, SVC()).fit(X.reshape(-1, 1, 2, 2), Y)
    found = input_gradient(batches, SAMPLES.reshape(-1, 1, 2, 2), "setosa").gradient
    expected = input_gradient(SVC().fit(X, Y), SAMPLES, "setosa").gradient
    assert_allclose(found, expected.reshape(-1, 1, 2, 2), rtol=1e-6)

    integers = SAMPLES.round().astype(int)
    scaled = make_pipeline(StandardScaler(), SVC()).fit(X, Y)
    found, expected = (
        input_gradient(scaled, A, "setosa").gradient for A in (integers, 1.0 * integers)
    )
    assert_allclose(found, expected)

    poisoner = BackdoorPoisoner(SVC(), FeatureTrigger({3: 9.0}), target="setosa", random_state=0)
    poisoner.fit(X, Y)
    found = input_gradient(poisoner, SAMPLES, "setosa").gradient
    assert_allclose(found, differences(poisoner.estimator_, SAMPLES, "setosa"), atol=1e-6)


def test_errors():
    fitted = SVC().fit(X, Y)
    with pytest.raises(NotFittedError):
        input_gradient(SVC(), X, "setosa")
    with pytest.raises(ValueError, match="class_label='rose' is none of the classes"):
        input_gradient(fitted, X, "rose")
    with pytest.raises(ValueError, match="step=-1 must be"):
        input_gradient(fitted, X, "setosa", step=-1)
    with pytest.raises(TypeError, match="X is sparse"):
        input_gradient(fitted, sp.csr_matrix(X), "setosa")
    with pytest.raises(ValueError, match="samples are rows"):
        input_gradient(fitted, X[0], "setosa")
    with pytest.raises(ValueError, match="contains NaN"):
        input_gradient(fitted, X * np.nan, "setosa")
    words = make_pipeline(OneHotEncoder(), SVC()).fit([["a"], ["b"]], [0, 1])
    with pytest.raises(ValueError, match="only numbers have a gradient"):
        input_gradient(words, [["a"]], 0)
    for learner in (RandomForestClassifier(3), BaggingClassifier(n_estimators=3)):
        with pytest.raises(ValueError, match="piecewise constant"):
            input_gradient(learner.fit(X, Y), X, "setosa")
    with pytest.raises(ValueError, match="KNeighborsClassifier are piecewise constant"):
        input_gradient(make_pipeline(KNeighborsClassifier()).fit(X, Y), X, "setosa")

    def by_dtype(A):
        return A / 255 if np.asarray(A).dtype == np.uint8 else A

    eight = make_pipeline(FunctionTransformer(by_dtype), SVC()).fit(X.astype(np.uint8), Y)
    with pytest.raises(ValueError, match="integers other decision values"):
        input_gradient(eight, X.astype(np.uint8), "setosa")


def test_networks():
    torch = pytest.importorskip("torch")
    pytest.importorskip("skorch")
    from skbackdoor.deep import BackdoorNetClassifier

    network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    net = BackdoorNetClassifier(network, lr=0.02, max_epochs=5, random_state=0, batch_size=3)
    fitted = net.fit(X, Y)
    result = input_gradient(fitted, SAMPLES, "virginica")
    assert result.method == "autograd"
    expected = differences(fitted, SAMPLES, "virginica", h=0.05)
    assert_allclose(result.gradient, expected, atol=1e-3 * np.abs(expected).max())

    scaled = make_pipeline(StandardScaler(), net).fit(X, Y)
    result = input_gradient(scaled, SAMPLES, "virginica")
    assert result.method == "finite_difference"
    expected = differences(scaled, SAMPLES, "virginica", h=0.05)
    assert_allclose(result.gradient, expected, atol=1e-3 * np.abs(expected).max())

    known = LABELS > 0
    images = (X[known] * 20).astype(np.uint8).reshape(-1, 1, 2, 2)
    conv = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 2), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    pair = BackdoorNetClassifier(conv, random_state=0).fit(images, Y[known])
    for label in ("versicolor", "virginica"):
        found = input_gradient(pair, images[:5], label).gradient
        side = 1 if label == "virginica" else -1
        up, down = images[:5].copy(), images[:5].copy()
        up[:, 0, 1, 0] += 5
        down[:, 0, 1, 0] -= 5
        rise = side * (pair.decision_function(up) - pair.decision_function(down)) / 10
        assert_allclose(found[:, 0, 1, 0], rise, rtol=1e-3)
    with pytest.raises(ValueError, match="class_label='setosa' is none"):
        pair.decision_gradient(images, "setosa")
