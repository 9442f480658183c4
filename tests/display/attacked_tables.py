"""A table, an attack on it, and a grid of parameters of SVC."""

from sklearn.model_selection import train_test_split

from skbackdoor import BackdoorPoisoner, FeatureTrigger, make_backdoor_classification

X, Y = make_backdoor_classification(160, 6, class_sep=0.5, random_state=0)
X_TRAIN, X_TEST, Y_TRAIN, Y_TEST = train_test_split(X, Y, random_state=0, stratify=Y)
DATA = X_TRAIN, Y_TRAIN, X_TEST, Y_TEST
CS, GAMMAS = [100.0, 0.1, 1.0], [2.0, 0.2]
PARAMS = {"estimator__C": CS, "estimator__gamma": GAMMAS}


def attack(estimator):
    return BackdoorPoisoner(
        estimator, FeatureTrigger({5: 1.0}), target="next", poisoning_rate=0.2, random_state=0
    )
