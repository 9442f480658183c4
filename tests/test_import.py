"""What `import skbackdoor` loads."""

import subprocess
import sys


def test_import_loads_no_optional_package():
    code = (
        "import sys, skbackdoor\n"
        "optional = {'matplotlib', 'torch', 'torchvision', 'tqdm', 'skorch'}\n"
        "print(*sorted(optional & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_public_names():
    import skbackdoor

    assert len(set(skbackdoor.__all__)) == len(skbackdoor.__all__)
    for name in skbackdoor.__all__:
        assert hasattr(skbackdoor, name)
    contract = {
        "Attack", "BackdoorPoisoner", "PatchTrigger", "FeatureTrigger", "PerClassTrigger",
        "backdoor_learning_slope", "backdoor_learning_curve", "parameter_deviation",
        "weight_path", "attack_success_rate", "clean_accuracy_drop",
        "attack_success_rate_scorer", "evaluate_attack", "BackdoorSlopeScorer",
        "backdoor_slope_scorer", "neg_backdoor_slope_scorer", "most_robust",
        "BackdoorLearningCurveDisplay", "load_digits_pair", "fetch_mnist",
        "make_backdoor_classification",
    }  # fmt: skip
    assert contract <= set(skbackdoor.__all__)


def test_deep_says_what_to_install():
    code = (
        "import sys; sys.modules['skorch'] = None\n"
        "try:\n    import skbackdoor.deep\n"
        "except ImportError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'skbackdoor[deep]'" in out.stdout
