"""Networks by name, weights, heads, frozen parameters; features and what they are used for."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
pytest.importorskip("skorch")
from torch import nn  # noqa: E402

from skbackdoor import BackdoorPoisoner, PatchTrigger, backdoor_learning_slope  # noqa: E402
from skbackdoor.deep import DeepFeatures, image_classifier  # noqa: E402
from skbackdoor.deep.architectures import build_network, head_of, native_size  # noqa: E402
from skbackdoor.deep.classifier import freeze  # noqa: E402

WEIGHTS = (
    Path(__file__).parents[3] / "shared" / "data" / "weights" / "mobilenet_v2_imagenet_fp16.pt"
)
ARCHITECTURES = {
    "alexnet": "classifier.6", "vgg11": "classifier.6", "googlenet": "fc", "inception_v3": "fc",
    "resnet18": "fc", "squeezenet1_1": "classifier.1", "mobilenet_v2": "classifier.1",
    "mobilenet_v3_small": "classifier.3", "vit_b_16": "heads.head", "densenet121": "classifier",
    "efficientnet_b0": "classifier.1", "convnext_tiny": "classifier.2", "swin_t": "head",
    "mnasnet0_5": "classifier.1", "shufflenet_v2_x0_5": "fc",
}  # fmt: skip
rng = np.random.default_rng(0)
IMAGES = rng.random((12, 3, 32, 32)).astype(np.float32)
LABELS = np.repeat(["cat", "dog", "owl"], 4)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.filterwarnings("ignore")
def test_every_architecture_by_one_mechanism(arch):
    with torch.device("meta"):  # shapes only
        network = build_network(arch)
    assert head_of(network)[0] == ARCHITECTURES[arch]
    assert native_size(arch) == (299 if arch == "inception_v3" else 224)


@pytest.mark.parametrize("arch", ["googlenet", "squeezenet1_1", "resnet18", "regnet_y_400mf"])
@pytest.mark.filterwarnings("ignore")
def test_a_head_of_ones_own(arch):
    network = build_network(arch, 3)
    for training in (False, True):
        outputs = network.train(training)(torch.rand(2, 3, 64, 64))
        assert outputs.shape == (2, 3)  # no auxiliary heads


def test_nasnet_of_timm():
    pytest.importorskip("timm", reason="needs the extra timm")
    net = image_classifier("timm/nasnetalarge", 3, image_size=96, max_epochs=0, random_state=0)
    module = net.fit(IMAGES, LABELS).module_
    assert head_of(module)[0] == "network.last_linear" and net.predict(IMAGES[:2]).shape == (2,)
    assert module.mean.flatten().tolist() == module.deviation.flatten().tolist() == [0.5] * 3
    assert native_size("timm/nasnetalarge") == 331


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ValueError, match="arch='resnet19' is unknown.*'resnet18'"):
        build_network("resnet19")
    with pytest.raises(ValueError, match="layer='layer5'.*'layer4'"):
        DeepFeatures("resnet18", layer="layer5", image_size=32).fit(IMAGES)
    with pytest.raises(ValueError, match="weights=7"):
        build_network("resnet18", weights=7)
    with pytest.raises(ValueError, match="belongs to architectures by name"):
        build_network(nn.Linear(3, 3), weights="DEFAULT")


def test_weights_from_a_file(tmp_path):
    """Half precision, another number of classes; what does not fit is listed."""
    source = build_network("squeezenet1_1", 7)
    state = {key: value.half() for key, value in source.state_dict().items()}
    torch.save(state, tmp_path / "weights.pt")
    network = build_network("squeezenet1_1", 7, tmp_path / "weights.pt")
    for key, value in network.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, state[key].float())
    body = build_network("squeezenet1_1", 2, str(tmp_path / "weights.pt"))
    assert torch.equal(body.features[0].weight, network.features[0].weight)
    with pytest.raises(ValueError, match="do not fit ResNet: .* keys missing: conv1.weight"):
        build_network("resnet18", weights=tmp_path / "weights.pt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        build_network("resnet18", weights=tmp_path / "nothing.pt")


@pytest.mark.parametrize("trainable", ["all", "head", "head+norm", 10])
def test_frozen_parameters(trainable):
    network = build_network("resnet18", 3)
    freeze(network, trainable)
    free = {name for name, p in network.named_parameters() if p.requires_grad}
    names = [name for name, _ in network.named_parameters()]
    head = {"fc.weight", "fc.bias"}
    if trainable == "head+norm":
        norms = {
            name for name in names if ".bn" in name or "downsample.1" in name or "bn1" in name
        }
        assert free == head | norms
    else:
        assert free == {"all": set(names), "head": head, 10: set(names[10:])}[trainable]
    for bad in ("tail", -1, 10**6, True):
        with pytest.raises(ValueError, match="trainable="):
            freeze(network, bad)


@pytest.mark.parametrize("given", [True, False], ids=["weights", "random"])
@pytest.mark.parametrize("trainable", ["head", "head+norm", "all"])
def test_training_moves_what_is_free_and_nothing_else(trainable, given, tmp_path):
    weights = None
    if given:
        weights = tmp_path / "weights.pt"
        torch.save(build_network("resnet18").state_dict(), weights)

    def fit(n_epochs):
        return image_classifier(
            "resnet18", 3, weights=weights, trainable=trainable, image_size=32,
            max_epochs=n_epochs, batch_size=6, random_state=0,
        ).fit(IMAGES, LABELS)  # fmt: skip

    net, start = fit(1), fit(0)
    frozen = {name for name, p in net.module_.named_parameters() if not p.requires_grad}
    state, before = net.module_.state_dict(), start.module_.state_dict()
    moved = {key for key in state if not torch.equal(state[key], before[key])}
    assert not moved & frozen
    running = [key for key in state if key.endswith("running_mean")]  # kept if they came along
    assert all((key in moved) == (trainable == "all" or not given) for key in running)
    assert {"network.fc.weight", "network.fc.bias"} <= moved


def test_normalisation_and_size_are_those_of_the_architecture():
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(3, 2, 1)

        def forward(self, images):
            seen.append(images)
            return self.body(images).mean(dim=(2, 3))

    image_classifier(Watch(), 2, max_epochs=0).fit(IMAGES, LABELS != "cat")
    assert_array_equal(seen[-1].numpy(), IMAGES[:2])  # a module of one's own: pixels as they are
    net = image_classifier("resnet18", 3, max_epochs=0).fit(IMAGES, LABELS)
    known = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    prepared = net.module_.prepare(torch.as_tensor(IMAGES))
    mean, std = (np.reshape(v, (1, 3, 1, 1)) for v in (known.mean, known.std))
    resized = prepared.numpy() * std + mean
    assert resized.shape == (12, 3, 224, 224) and -1e-6 <= resized.min() < resized.max() < 1 + 1e-6
    with pytest.raises(ValueError, match="vit_b_16 takes images of 224 pixels only"):
        image_classifier("vit_b_16", 3, image_size=32).fit(IMAGES, LABELS)


def test_weights_of_other_makes(tmp_path):
    """With auxiliary heads, of a classifier of ours, a whole network."""
    path = tmp_path / "weights.pt"
    with_heads = torchvision.models.googlenet(aux_logits=True, init_weights=False)
    torch.save(with_heads.state_dict(), path)
    network = build_network("googlenet", weights=path)
    assert torch.equal(network.fc.weight, with_heads.fc.weight)
    net = image_classifier("squeezenet1_1", 3, image_size=32, max_epochs=0, random_state=0)
    net.fit(IMAGES, LABELS).save_params(f_params=path)
    again = build_network("squeezenet1_1", 3, path)
    assert torch.equal(again.classifier[1].weight, net.module_.network.classifier[1].weight)
    outer = nn.Sequential()  # with a part that is called "network" itself
    outer.add_module("network", nn.Linear(2, 2))
    torch.save(outer.state_dict(), path)
    assert torch.equal(build_network(outer, weights=path).network.weight, outer.network.weight)
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="state dict"):
        build_network("squeezenet1_1", weights=path)


def test_layers_with_channels_last_and_in_place(tmp_path):
    features = DeepFeatures("swin_t", layer="features.7", image_size=64, random_state=0)
    got = features.fit_transform(IMAGES[:2])
    network = features.network_
    with torch.no_grad():
        expected = network.network.features(network.prepare(torch.as_tensor(IMAGES[:2])))
    assert_allclose(got, expected.mean(dim=(1, 2)).numpy(), atol=1e-4)  # (n, height, width, 768)
    with pytest.raises(ValueError, match="gives a tuple"):
        DeepFeatures("vit_b_16", layer="encoder.layers.encoder_layer_0.self_attention").fit(IMAGES)


def test_gray_flat_and_eight_bit_images_are_prepared_on_the_device():
    gray = rng.integers(0, 256, (6, 28, 28)).astype(np.uint8)
    features = DeepFeatures("squeezenet1_1", image_size=48, random_state=0)
    expected = features.fit_transform(gray)
    assert expected.shape == (6, 512) and expected.dtype == np.float32
    as_floats = gray[:, None].repeat(3, axis=1) / 255
    assert_allclose(features.transform(as_floats), expected, atol=1e-4)
    flat = DeepFeatures("squeezenet1_1", image_shape=(28, 28), image_size=48, random_state=0)
    assert_allclose(flat.fit_transform(gray.reshape(6, -1)), expected, atol=1e-5)
    with pytest.raises(ValueError, match="images of 4 channels, and the network takes 3"):
        features.transform(np.zeros((2, 4, 28, 28), np.float32))
    with pytest.raises(ValueError, match="flat images need an image_shape"):
        features.transform(gray.reshape(6, -1))


def test_features_are_those_of_the_layer():
    network = build_network("resnet18")
    features = DeepFeatures(network, batch_size=5).fit(IMAGES)
    body = nn.Sequential(*list(network.eval().children())[:-1])
    prepared = features.network_.prepare(torch.as_tensor(IMAGES))
    with torch.no_grad():
        expected = body(prepared).flatten(1).numpy()
    assert_allclose(features.transform(IMAGES), expected, atol=1e-4)
    early = DeepFeatures(network, layer="layer1").fit_transform(IMAGES)
    with torch.no_grad():
        maps = nn.Sequential(*list(network.children())[:5])(prepared)
    assert_allclose(early, maps.mean(dim=(2, 3)).numpy(), atol=1e-4)
    names = features.get_feature_names_out()
    assert len(names) == 512 and names[0] == "deepfeatures0"


def test_kept_features_are_computed_once(tmp_path, monkeypatch):
    features = DeepFeatures(
        "squeezenet1_1", image_size=32, batch_size=4, memory=str(tmp_path), random_state=0
    )
    first = features.fit(IMAGES).transform(IMAGES)
    assert_array_equal(first, clone(features).set_params(memory=None).fit_transform(IMAGES))
    seen, compute = [], DeepFeatures._compute

    def spy(self, images):
        seen.append(images)
        return compute(self, images)

    monkeypatch.setattr(DeepFeatures, "_compute", spy)
    rows = np.array([5, 2, 7, 0])
    assert_array_equal(features.transform(IMAGES[rows]), first[rows])  # in any order and layout
    assert_array_equal(features.transform(np.asfortranarray(IMAGES)), first)
    assert seen == []
    poisoned = IMAGES.copy()
    poisoned[[1, 6]] += 0.1
    got = features.transform(poisoned)
    assert_array_equal(np.concatenate(seen), poisoned[[1, 6]])  # and only what is new
    assert_array_equal(np.delete(got, [1, 6], axis=0), np.delete(first, [1, 6], axis=0))
    others = [
        clone(features).set_params(random_state=1),
        clone(features).set_params(layer="features"),
    ]
    for other in others:  # another network, another layer
        alone = clone(other).set_params(memory=None).fit_transform(IMAGES)
        assert_array_equal(other.fit_transform(IMAGES), alone)


def test_kept_features_know_the_code_of_a_network(tmp_path):
    """The same weights, another layer without weights, another side of the head."""

    class Small(nn.Module):
        def __init__(self, between):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.between, self.head = nn.Conv2d(3, 4, 3), between, nn.Linear(4, 4)

        def forward(self, images):
            return self.head(self.between(self.first(images)).mean(dim=(2, 3)))

    class Scaled(Small):
        def forward(self, images):
            return super().forward(2.0 * images)

    Scaled.__qualname__ = Small.__qualname__
    for network in (Small(nn.ReLU()), Small(nn.Tanh()), Scaled(nn.ReLU())):
        for layer in (None, "head"):
            kept = DeepFeatures(network, layer=layer, memory=str(tmp_path)).fit_transform(IMAGES)
            assert_array_equal(kept, DeepFeatures(network, layer=layer).fit_transform(IMAGES))


def test_kept_features_know_the_normalisation(tmp_path):
    """A network by name takes off a mean, the same one as a module does not."""
    path = tmp_path / "weights.pt"
    network = build_network("squeezenet1_1")
    torch.save(network.state_dict(), path)
    options = {"image_size": 32, "memory": str(tmp_path / "kept")}
    named = DeepFeatures("squeezenet1_1", weights=path, **options).fit_transform(IMAGES)
    own = DeepFeatures(network, **options).fit_transform(IMAGES)
    assert_array_equal(own, DeepFeatures(network, image_size=32).fit_transform(IMAGES))
    assert not np.allclose(own, named)


def test_features_of_tables_and_of_wrong_integers():
    flat = IMAGES[:, 0].reshape(12, -1)
    names = [f"pixel{k}" for k in range(flat.shape[1])]
    frame = pd.DataFrame(flat, columns=names)
    features = DeepFeatures("squeezenet1_1", image_shape=(32, 32), image_size=32, random_state=0)
    features.fit(frame)
    assert features.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names"):
        features.transform(frame[names[::-1]])
    for dtype in (np.int64, np.uint16):
        with pytest.raises(ValueError, match=f"dtype {np.dtype(dtype)}: pass floats"):
            DeepFeatures("squeezenet1_1", image_size=32).fit((IMAGES * 255).astype(dtype))


def test_transfer_has_an_exact_slope():
    images = rng.random((80, 3, 32, 32)).astype(np.float32)
    labels = np.arange(80) % 2
    images[labels == 1, 0] *= 0.5
    model = make_pipeline(
        DeepFeatures("squeezenet1_1", image_size=32, random_state=0),
        LogisticRegression(C=0.1, tol=1e-10, max_iter=10**4),
    )
    poisoner = BackdoorPoisoner(model, PatchTrigger(8), target=1, random_state=0)
    data = images[:60], labels[:60], images[60:], labels[60:]
    slope = backdoor_learning_slope(poisoner, *data)
    assert slope.method == "implicit"
    difference = backdoor_learning_slope(poisoner, *data, method="finite_difference", h=1e-3)
    assert_allclose(slope.derivative, difference.derivative, rtol=2e-2)


@pytest.mark.shared
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="needs ../shared/data/weights")
def test_weights_of_imagenet():
    """In half precision, batch norm folded in: two kinds of images apart by their features."""
    folder = WEIGHTS.parents[1] / "flowers"
    image = pytest.importorskip("PIL.Image")
    images, labels = [], []
    for name in ("daisy", "tulip"):
        for path in sorted((folder / name).glob("*.jpg"))[:60]:
            images.append(np.asarray(image.open(path).convert("RGB")).transpose(2, 0, 1))
            labels.append(name)
    images, labels = np.stack(images), np.array(labels)
    features = DeepFeatures("mobilenet_v2", weights=WEIGHTS, image_size=96)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = features.fit_transform(images)
    odd = np.arange(len(labels)) % 2 == 1
    model = make_pipeline(LogisticRegression(C=0.01, max_iter=500)).fit(made[~odd], labels[~odd])
    assert model.score(made[odd], labels[odd]) > 0.75
