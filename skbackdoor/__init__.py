"""Backdoor poisoning for scikit-learn: attack, measure, and choose models hard to backdoor."""

from .attack import Attack
from .audit import (
    AuditGroup,
    AuditReport,
    ClassChange,
    ModelAudit,
    Remedy,
    Withstood,
    audit,
    audit_model,
)
from .curves import (
    BackdoorBreakdown,
    BackdoorCurve,
    BackdoorSlope,
    ParameterDeviation,
    backdoor_breakdown,
    backdoor_learning_curve,
    backdoor_learning_slope,
    parameter_deviation,
)
from .datasets import (
    fetch_cifar10,
    fetch_flowers,
    fetch_imagenette,
    fetch_mnist,
    fetch_tiny_imagenet,
    load_digits_pair,
    make_backdoor_classification,
)
from .defense_metrics import (
    DefenseEvaluation,
    DetectionEvaluation,
    evaluate_defense,
    evaluate_detection,
)
from .defenses import CleanRetraining, RetrainingReport, SanitizedClassifier
from .detection import (
    ActivationClustering,
    LabelAssociation,
    LeaveGroupOutDetector,
    PoisonDetector,
    PoisonGroup,
    SpectralSignatures,
    StripFilter,
    TriggerSuccess,
)
from .display import (
    BackdoorLearningCurveDisplay,
    BackdoorSlopeDisplay,
    DecisionBoundaryPathDisplay,
    GradCAMDisplay,
    InfluentialSamplesDisplay,
    InputGradientDisplay,
    ParameterDeviationDisplay,
    PoisonGroupDisplay,
    RobustnessHeatmapDisplay,
    SearchReportDisplay,
    TriggerDisplay,
)
from .gradients import InputGradient, input_gradient
from .influence import poison_influence
from .metrics import (
    AttackEvaluation,
    attack_success_rate,
    attack_success_rate_scorer,
    clean_accuracy_drop,
    evaluate_attack,
    kept_accuracy_scorer,
)
from .model_selection import (
    AttackSplit,
    BackdoorBreakdownScorer,
    BackdoorSlopeScorer,
    attack_split,
    backdoor_slope_scorer,
    most_robust,
    neg_backdoor_slope_scorer,
)
from .paths import weight_path
from .poisoning import BackdoorPoisoner
from .search_report import SearchReport, search_report
from .studies import SlopeGrid, Study, slope_grid
from .triggers import *  # noqa: F403
from .triggers import __all__ as _triggers
from .triggers import trigger_family
from .worst_trigger import worst_trigger

__version__ = "0.1.0"

__all__ = [
    *_triggers,
    "ActivationClustering",
    "Attack",
    "AttackEvaluation",
    "AttackSplit",
    "AuditGroup",
    "AuditReport",
    "BackdoorBreakdown",
    "BackdoorBreakdownScorer",
    "BackdoorCurve",
    "BackdoorLearningCurveDisplay",
    "BackdoorPoisoner",
    "BackdoorSlope",
    "BackdoorSlopeDisplay",
    "BackdoorSlopeScorer",
    "ClassChange",
    "CleanRetraining",
    "DecisionBoundaryPathDisplay",
    "DefenseEvaluation",
    "DetectionEvaluation",
    "GradCAMDisplay",
    "InfluentialSamplesDisplay",
    "InputGradient",
    "InputGradientDisplay",
    "LabelAssociation",
    "LeaveGroupOutDetector",
    "ModelAudit",
    "ParameterDeviation",
    "ParameterDeviationDisplay",
    "PoisonDetector",
    "PoisonGroup",
    "PoisonGroupDisplay",
    "Remedy",
    "RetrainingReport",
    "RobustnessHeatmapDisplay",
    "SanitizedClassifier",
    "SearchReport",
    "SearchReportDisplay",
    "SlopeGrid",
    "SpectralSignatures",
    "StripFilter",
    "Study",
    "TriggerDisplay",
    "TriggerSuccess",
    "Withstood",
    "attack_split",
    "attack_success_rate",
    "attack_success_rate_scorer",
    "audit",
    "audit_model",
    "backdoor_breakdown",
    "backdoor_learning_curve",
    "backdoor_learning_slope",
    "backdoor_slope_scorer",
    "clean_accuracy_drop",
    "evaluate_attack",
    "evaluate_defense",
    "evaluate_detection",
    "fetch_cifar10",
    "fetch_flowers",
    "fetch_imagenette",
    "fetch_mnist",
    "fetch_tiny_imagenet",
    "input_gradient",
    "kept_accuracy_scorer",
    "load_digits_pair",
    "make_backdoor_classification",
    "most_robust",
    "neg_backdoor_slope_scorer",
    "parameter_deviation",
    "poison_influence",
    "search_report",
    "slope_grid",
    "trigger_family",
    "weight_path",
    "worst_trigger",
]
