"""Weights files: every container and naming comes back whole; everything else is one line that says what is wrong."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from detector.errors import UserError
from detector.slowfast import ActionNetwork, SlowFastConfig, create_network, load_network, save_state
from detector.slowfast.checkpoints import infer_config
from detector.slowfast.containers import read_weights_file
from detector.slowfast.naming import native_name

pytestmark = pytest.mark.usefixtures("one_thread")
THIN = {"width": 8, "beta_inv": 4}
NAMINGS = ["pyslowfast", "pytorchvideo", "caffe2"]


def same_weights(a, b):
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def classifier(**numbers):
    return SlowFastConfig(**{"head": "classification", "num_classes": 400, "activation": "softmax", **THIN, **numbers})


NETWORKS = {
    "8x8 r50 detection": SlowFastConfig(lateral_kernel=7, **THIN),
    "4x16 r50 classification": classifier(alpha=8),
    "8x8 r101 six temporal": SlowFastConfig(depth=101, temporal_blocks_res4=6, **THIN),
    "16x8 r101 classification": classifier(depth=101, num_frames=64, temporal_blocks_res4=6),
    "8x8 r101 all temporal": classifier(depth=101),
    "8x8 r101 nonlocal": SlowFastConfig(depth=101, temporal_blocks_res4=6, nonlocal_blocks=(6, 13, 20), **THIN),
    "16x8 r101 nonlocal classification": classifier(
        depth=101, num_frames=64, temporal_blocks_res4=6, nonlocal_blocks=(6, 13, 20)),
    "slow-only 4x16 detection": SlowFastConfig(pathways="slow", num_frames=4, alpha=1, width=8),
    "slow-only 8x8 classification": classifier(pathways="slow", num_frames=8, alpha=1, beta_inv=8),
    "charades": classifier(num_classes=157, activation="sigmoid"),
}


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_written_in_each_naming_come_back_identical(name, naming, tmp_path):
    config = NETWORKS[name]
    network, path = create_network(config, seed=3), tmp_path / "weights"
    if naming == "pytorchvideo" and config.nonlocal_blocks:
        with pytest.raises(UserError, match=r"pytorchvideo has no name for s4\.pathway0_nonlocal6"):
            save_state(network, path, naming)
        return
    save_state(network, path, naming)
    _without_config(path, naming)
    again = load_network(path, frames=config.num_frames, alpha=config.alpha)
    assert again.config == config
    assert same_weights(network, again)
    assert not again.training


def _without_config(path, naming):
    """Leave only what published files have, so that the numbers must come from the tensors."""
    if naming != "caffe2":
        content = torch.load(path, weights_only=True)
        torch.save({"epoch": 5, "model_state": content["model_state"], "optimizer_state": {"state": {}}}, path)


def test_the_issues_defaults_read_a_published_looking_file_and_give_scores(tmp_path):
    save_state(create_network(SlowFastConfig(lateral_kernel=7, **THIN), seed=0), tmp_path / "w", "caffe2")
    network = load_network(tmp_path / "w", frames=32, alpha=4, aligned=False)
    with torch.inference_mode():
        scores = network(torch.zeros((1, 32, 64, 64, 3), dtype=torch.uint8), torch.tensor([[0, 1.0, 2, 40, 50]]))
    assert scores.shape == (1, 80)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_own_files_remember_what_tensors_cannot_tell(tmp_path):
    config = SlowFastConfig(num_frames=16, fast_input="difference", num_classes=5, lateral="time_to_channel_sum",
                            blocks=(1, 1, 1, 1), width=8, beta_inv=4, aligned=True, dropout=0.1)
    save_state(create_network(config, seed=0), tmp_path / "w")
    assert load_network(tmp_path / "w").config == config
    assert load_network(tmp_path / "w", aligned=False).config.aligned is False


@pytest.mark.parametrize("lateral", ["time_to_channel_concat", "time_strided"])
def test_laterals_without_weights_are_read_off_the_joined_channels(lateral, tmp_path):
    config = SlowFastConfig(lateral=lateral, blocks=(1, 1, 1, 1), **THIN)
    save_state(create_network(config, seed=0), tmp_path / "w", "caffe2")
    assert load_network(tmp_path / "w").config.lateral == lateral


@pytest.mark.parametrize("beta_inv", [4, 6, 8, 12, 16, 32])
def test_beta_is_read_off_the_channels(beta_inv):
    config = SlowFastConfig(beta_inv=beta_inv, blocks=(1, 1, 1, 1))
    with torch.device("meta"):
        shapes = ActionNetwork(config).state_dict()
    assert infer_config(shapes, "w", {"alpha": 4}) == config


def test_pyslowfasts_recipe_fills_in_what_nobody_says(tmp_path):
    recipe = (
        "DATA:\n  NUM_FRAMES: 64\n  SAMPLING_RATE: 2\nDETECTION:\n  ALIGNED: true\n  ENABLE: true\n"
        "MODEL:\n  HEAD_ACT: sigmoid\nNONLOCAL:\n  INSTANTIATION: dot_product\n  POOL:\n"
        + "".join("  - - - 1\n      - 2\n      - 2\n    - - 9\n      - 9\n      - 9\n" for _ in range(4))
        + "NUM_GPUS: 8\nSLOWFAST:\n  ALPHA: 8\n"
    )
    config = SlowFastConfig(depth=101, nonlocal_blocks=(1,), num_classes=7, **THIN)
    state = create_network(config, seed=0).state_dict()
    torch.save({"model_state": state, "cfg": recipe}, tmp_path / "w")
    found = load_network(tmp_path / "w").config
    assert (found.num_frames, found.alpha, found.aligned, found.head) == (64, 8, True, "detection")
    assert found.nonlocal_pool == (1, 2, 2)
    assert load_network(tmp_path / "w", frames=32, alpha=4, aligned=False).config.num_frames == 32
    softmax = recipe.replace("dot_product", "softmax")
    torch.save({"model_state": state, "cfg": softmax}, tmp_path / "w")
    with pytest.raises(UserError, match="softmax"):
        load_network(tmp_path / "w")


def test_an_unusual_number_of_classes_needs_a_word_about_the_head(tmp_path):
    save_state(create_network(SlowFastConfig(num_classes=5, **THIN), seed=0), tmp_path / "w", "caffe2")
    with pytest.raises(UserError, match=r"5 classes.*head='detection' or head='classification'"):
        load_network(tmp_path / "w")
    assert load_network(tmp_path / "w", head="detection").config.num_classes == 5
    assert load_network(tmp_path / "w", head="classification").config.activation == "softmax"


def test_prefixes_of_data_parallel_training_are_taken_off(tmp_path):
    network = create_network(SlowFastConfig(**THIN), seed=0)
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w")
    assert same_weights(load_network(tmp_path / "w"), network)


def test_half_precision_and_older_torch_files_are_read(tmp_path):
    network = create_network(SlowFastConfig(blocks=(1, 1, 1, 1), **THIN), seed=0)
    torch.save({"model_state": network.half().state_dict()}, tmp_path / "w", _use_new_zipfile_serialization=False)
    again = load_network(tmp_path / "w")
    assert all(p.dtype == torch.float32 for p in again.parameters())
    assert same_weights(again, network.float())


def caffe2_blobs(tmp_path, config=None):
    network = create_network(config or SlowFastConfig(blocks=(1, 1, 1, 1), **THIN), seed=0)
    save_state(network, tmp_path / "blobs", "caffe2")
    return network, pickle.loads((tmp_path / "blobs").read_bytes())["blobs"]


def test_caffe2_files_may_hold_momentum_and_lack_trailing_ones(tmp_path):
    network, blobs = caffe2_blobs(tmp_path)
    blobs = {k: v.reshape(v.shape[:2]) if v.shape[2:] == (1, 1, 1) else v for k, v in blobs.items()}
    assert any(v.ndim == 2 and k != "pred_w" for k, v in blobs.items())
    blobs["pred_w"] = blobs["pred_w"].reshape(*blobs["pred_w"].shape, 1, 1, 1)
    blobs |= {"conv1_w_momentum": np.ones(3, np.float32), "lr": np.float32(0.1), "model_iter": 7,
              "res_conv1_bn_s_momentum": np.ones(2)}
    (tmp_path / "w").write_bytes(pickle.dumps({"blobs": blobs, "cfg": {}}, protocol=2))
    assert same_weights(load_network(tmp_path / "w"), network)


def test_files_that_python_2_wrote_are_read(tmp_path):
    """Python 2's byte strings and numpy's old module name, spelled out as that pickler did."""
    array = pickle.dumps(np.arange(6, dtype=np.float32).reshape(2, 3), protocol=0)
    array = array.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "w").write_bytes(b"(dp0\nS'blobs'\n(dp1\nS'conv1_w'\n" + array[:-1] + b"sss."[0:1] + b"s.")
    tensors = read_weights_file(tmp_path / "w").tensors
    assert tensors["conv1_w"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("key", ["blobs", "model_state", "state_dict", "model"])
def test_tensors_are_found_under_every_containers_key(key, tmp_path):
    (tmp_path / "w").write_bytes(pickle.dumps({key: {"a.weight": np.ones((2, 3))}, "__author__": "x"}, protocol=2))
    tensors = read_weights_file(tmp_path / "w").tensors
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {"a.weight": (2, 3)}


# The Caffe2 and PyTorchVideo names that the conventions give in words, beside what they are here.
@pytest.mark.parametrize(("theirs", "ours"), [
    ("conv1_w", "s1.pathway0_stem.conv.weight"),
    ("t_conv1_w", "s1.pathway1_stem.conv.weight"),
    ("res_conv1_bn_rm", "s1.pathway0_stem.bn.running_mean"),
    ("t_res_conv1_bn_riv", "s1.pathway1_stem.bn.running_var"),
    ("t_pool1_subsample_w", "s1_fuse.conv_f2s.weight"),
    ("t_pool1_subsample_bn_s", "s1_fuse.bn.weight"),
    ("t_res2_2_branch2c_bn_subsample_w", "s2_fuse.conv_f2s.weight"),
    ("t_res3_3_branch2c_bn_subsample_bn_rm", "s3_fuse.bn.running_mean"),
    ("t_res4_22_branch2c_bn_subsample_bn_b", "s4_fuse.bn.bias"),
    ("res2_0_branch1_w", "s2.pathway0_res0.branch1.weight"),
    ("res2_0_branch1_bn_s", "s2.pathway0_res0.branch1_bn.weight"),
    ("res4_4_branch2c_w", "s4.pathway0_res4.branch2.c.weight"),
    ("t_res5_2_branch2a_bn_riv", "s5.pathway1_res2.branch2.a_bn.running_var"),
    ("nonlocal_conv4_6_theta_w", "s4.pathway0_nonlocal6.conv_theta.weight"),
    ("nonlocal_conv4_20_out_b", "s4.pathway0_nonlocal20.conv_out.bias"),
    ("nonlocal_conv4_13_bn_s", "s4.pathway0_nonlocal13.bn.weight"),
    ("pred_w", "head.projection.weight"),
    ("conv1_w_momentum", ""),
    ("lr", ""),
    ("model_iter", ""),
    ("res4_4_branch2d_w", None),
    ("something_else", None),
])
def test_caffe2_names(theirs, ours):
    assert native_name(theirs, "caffe2") == ours


@pytest.mark.parametrize(("theirs", "ours"), [
    ("blocks.0.multipathway_blocks.1.norm.bias", "s1.pathway1_stem.bn.bias"),
    ("model.blocks.3.multipathway_fusion.conv_fast_to_slow.weight", "s4_fuse.conv_f2s.weight"),
    ("blocks.0.multipathway_fusion.norm.running_var", "s1_fuse.bn.running_var"),
    ("blocks.3.multipathway_blocks.0.res_blocks.5.branch2.norm_a.weight", "s4.pathway0_res5.branch2.a_bn.weight"),
    ("blocks.1.multipathway_blocks.1.res_blocks.0.branch1_conv.weight", "s2.pathway1_res0.branch1.weight"),
    ("blocks.4.res_blocks.2.branch2.conv_c.weight", "s5.pathway0_res2.branch2.c.weight"),
    ("detection_head.proj.bias", "head.projection.bias"),
    ("blocks.6.proj.weight", "head.projection.weight"),
    ("blocks.5.proj.weight", "head.projection.weight"),
    ("blocks.5.conv.weight", None),
])
def test_pytorchvideo_names(theirs, ours):
    assert native_name(theirs, "pytorchvideo") == ours


def write_bytes(path, data):
    path.write_bytes(data)
    return path


class _Evil:
    def __reduce__(self):
        return (print, ("this ran",))


def bad_files(tmp_path):
    """(name, file, words that the error must hold)."""
    network, blobs = caffe2_blobs(tmp_path)
    save_state(network, tmp_path / "good.pyth")
    zipped, pickled = (tmp_path / "good.pyth").read_bytes(), (tmp_path / "blobs").read_bytes()
    torch.save(network.state_dict(), tmp_path / "old", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old").read_bytes()
    torch.save({"model_state": {"a": torch.zeros(1), "b": _Evil()}}, tmp_path / "evil.pth")
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    missing = {k: v for k, v in blobs.items() if k != "t_res3_0_branch2b_w"}
    extra = blobs | {"res9_0_branch2a_w": np.zeros(2, np.float32), "foo": np.zeros(1)}
    wrong = blobs | {"res3_0_branch2b_w": np.zeros((3, 3), np.float32)}
    deeper = blobs | {"nonlocal_conv3_1_theta_w": np.zeros((3, 3), np.float32)}
    dump = lambda b: pickle.dumps({"blobs": b}, protocol=2)  # noqa: E731
    return [
        ("gzip", gzip.compress(zipped), ["gzip", "gzip -dc"]),
        ("html", b"\n<!DOCTYPE html><html>404</html>", ["web page", "download it again"]),
        ("xml", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", ["web page"]),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ["Git LFS"]),
        ("empty", b"", ["empty"]),
        ("zip cut", zipped[: len(zipped) // 2], ["truncated", "download it again"]),
        ("zip cut at the end", zipped[:-30], ["truncated"]),
        ("pickle cut", pickled[: len(pickled) // 2], ["truncated"]),
        ("old torch cut", old[: len(old) // 2], ["truncated"]),
        ("picture", b"\x89PNG\r\n\x1a\n" + bytes(50), ["not a weights file"]),
        ("archive", (tmp_path / "archive.zip").read_bytes(), ["zip archive without"]),
        ("evil torch", (tmp_path / "evil.pth").read_bytes(), ["can run code", "print"]),
        ("evil pickle", pickle.dumps({"blobs": _Evil()}), ["can run code", "builtins.print"]),
        ("other network", (tmp_path / "other.pth").read_bytes(), ["not a SlowFast network", "fc.weight"]),
        ("list", (tmp_path / "list.pth").read_bytes(), ["list", "dict of tensors"]),
        ("no tensors", (tmp_path / "empty.pth").read_bytes(), ["no tensors", "epoch"]),
        ("missing", dump(missing), ["s3.pathway1_res0.branch2.b.weight is missing"]),
        ("extra", dump(extra), ["res9_0_branch2a_w, foo are left over"]),
        ("one tensor twice", dump(blobs | {"t_res3_7_branch2c_bn_subsample_w": blobs["conv1_w"]}),
         ["t_res3_7_branch2c_bn_subsample_w is left over"]),
        ("wrong shape", dump(wrong), ["s3.pathway0_res0.branch2.b.weight", "(3, 3)", "(16, 16, 1, 3, 3)"]),
        ("nonlocal in res3", dump(deeper), ["s3.pathway0_nonlocal1.conv_theta.weight", "left over"]),
    ]


def test_each_bad_file_has_its_own_line(tmp_path, capsys):
    for name, data, words in bad_files(tmp_path):
        path = write_bytes(tmp_path / "bad file", data)
        with pytest.raises(UserError) as caught:
            load_network(path)
        message = str(caught.value)
        assert str(path) in message, name
        assert "\n" not in message, name
        for word in words:
            assert word in message, (name, message)
    assert "this ran" not in capsys.readouterr().out


def test_no_such_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        load_network(tmp_path / "nothing.pyth")
    with pytest.raises(UserError, match="directory"):
        load_network(tmp_path)


def test_a_record_that_does_not_fit_names_the_tensor(tmp_path):
    config = SlowFastConfig(blocks=(1, 1, 1, 1), **THIN)
    save_state(create_network(config, seed=0), tmp_path / "w")
    with pytest.raises(UserError, match=r"head.projection.weight has shape \(80, .*expected \(5, "):
        load_network(tmp_path / "w", config=SlowFastConfig(blocks=(1, 1, 1, 1), num_classes=5, **THIN))
    with pytest.raises(UserError, match="missing"):
        load_network(tmp_path / "w", config=SlowFastConfig(blocks=(1, 2, 1, 1), **THIN))
    assert load_network(tmp_path / "w", config=config).config == config


def test_a_pickle_cannot_reach_beyond_arrays(tmp_path):
    """The allow-list holds for nested objects and for the encodings of protocol 2 too."""
    class Nested:
        def __reduce__(self):
            return (OrderedDict, ([("x", _Evil())],))

    path = write_bytes(tmp_path / "w", pickle.dumps({"blobs": {"conv1_w": Nested()}}, protocol=2))
    with pytest.raises(UserError, match="can run code"):
        load_network(path)
