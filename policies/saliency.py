"""Saliency: how much every pixel of a policy's frames affects the chunk that it predicts.

Everything between bytes and attention (standardisation, input transform) is differentiable, so gradients propagate
back to the pixels: a policy that reads Fourier coefficients gets a map as sharp as one that reads pixels. Attention
weights belong to tokens; they are mapped back through the adjoint of the same map.

    gradient      |d chunk / d pixel|: Simonyan, Vedaldi and Zisserman, Deep inside convolutional networks (2014)
    input         the gradient times how far the pixel is from the training mean: gradient x input of Shrikumar et al.,
                  Not just a black box (2016), with the input measured from what the attention reads as 0
    smooth        the gradient, averaged over noisy copies of the frames: Smilkov et al., SmoothGrad (2017)
    attention     the functional of the pixels that the attention weights are

A gradient alone shows where a change would matter, even where the input is zero; times the input it shows what in the
current frames matters, and videos show it by default. Neither shows what a policy would do if the object were gone or
elsewhere; the cue slope measures that.

Shape suffixes: K outputs (steps of a chunk times action features), T frames, H rows, W columns, C channels (N cameras
of C / N each), R attention rows (heads times latents), M tokens of the transform.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from smidgen.policies.learned_policy import LearnedPolicy
from smidgen.policies.perceiver import Perceiver
from smidgen.runtime.errors import UserError, unknown_name

Frames = UInt8[Tensor, "t h w c"] | Float[Tensor, "t h w c"]
Predict = Callable[[Tensor], Tensor]

SMOOTH_SAMPLES = 8
# Fraction of a pixel's range; Smilkov et al. find 10 to 20 % best.
SMOOTH_DEVIATION = 0.1


def chunk_jacobian(predict: Predict, frames_THWC: Frames) -> Float[Tensor, "outputs t h w c"]:
    """Derivatives of every output with respect to every channel of every pixel.

    Args:
        predict: Maps a batch of frames (1, T, H, W, C) in [0, 1] to outputs of any shape, differentiably.
        frames_THWC: The frames to differentiate at: bytes, or floats in [0, 1].

    Returns:
        Outputs in the order of ``flatten``, per unit of a pixel in [0, 1]; 0 if nothing depends on the frames.
    """
    x_1THWC = unit_floats(frames_THWC).detach()[None].clone().requires_grad_()
    with torch.enable_grad():
        outputs_K = predict(x_1THWC).flatten()
    if not outputs_K.requires_grad:
        return x_1THWC.detach().new_zeros(len(outputs_K), *frames_THWC.shape)
    rows = [torch.autograd.grad(output, x_1THWC, retain_graph=True, materialize_grads=True)[0] for output in outputs_K]
    return torch.cat(rows)


def gradient_saliency(predict: Predict, frames_THWC: Frames, num_cameras: int = 1) -> Float[Tensor, "t h w cameras"]:
    """Norm of the derivatives over outputs and a pixel's channels.

    Args:
        predict: As for ``chunk_jacobian``.
        frames_THWC: The frames to differentiate at.
        num_cameras: Number N of cameras that share the channel axis, camera by camera.
    """
    return _per_pixel(chunk_jacobian(predict, frames_THWC), num_cameras).square().sum((0, -1)).sqrt()


def input_saliency(
    predict: Predict, frames_THWC: Frames, num_cameras: int = 1, baseline_THWC: Tensor | None = None
) -> Float[Tensor, "t h w cameras"]:
    """Norm over outputs of derivative times input, summed over a pixel's channels.

    To first order, by how much the chunk would change were this pixel the baseline's.

    Args:
        predict: As for ``chunk_jacobian``.
        frames_THWC: The frames to differentiate at.
        num_cameras: Number N of cameras that share the channel axis.
        baseline_THWC: The reference of the input, in [0, 1]; None means black.
    """
    x_THWC = unit_floats(frames_THWC)
    offset_THWC = x_THWC if baseline_THWC is None else x_THWC - baseline_THWC
    products_KTHWC = chunk_jacobian(predict, frames_THWC) * offset_THWC
    return _per_pixel(products_KTHWC, num_cameras).sum(-1).square().sum(0).sqrt()


def mean_frames(network: Perceiver) -> Float[Tensor, "t h w c"]:
    """The frames that the attention reads as 0: the training mean if the inputs are standardised, otherwise black.

    Black also if the transform cannot be inverted.
    """
    pipeline = network.input_pipeline
    zeros_1MD = next(network.parameters()).new_zeros(1, pipeline.num_tokens, pipeline.channels)
    with torch.no_grad():
        if pipeline.transform.is_bijection:
            return pipeline.inverse(zeros_1MD).reshape(network.frame_shape)
    return zeros_1MD.new_zeros(network.frame_shape)


def smooth_saliency(
    predict: Predict,
    frames_THWC: Frames,
    num_cameras: int = 1,
    *,
    num_samples: int = SMOOTH_SAMPLES,
    deviation: float = SMOOTH_DEVIATION,
    seed: int = 0,
) -> Float[Tensor, "t h w cameras"]:
    """As ``gradient_saliency``, with derivatives averaged over copies of the frames with white noise.

    Args:
        predict: As for ``chunk_jacobian``.
        frames_THWC: The frames to differentiate at.
        num_cameras: Number N of cameras that share the channel axis.
        num_samples: Number of noisy copies.
        deviation: Standard deviation of the noise, per channel, for pixels in [0, 1]; nothing is clipped.
        seed: Seed of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    x_THWC = unit_floats(frames_THWC)
    total_KTHWC = torch.zeros(())
    for _ in range(num_samples):
        noise_THWC = torch.randn(x_THWC.shape, generator=generator, dtype=x_THWC.dtype).to(x_THWC.device)
        total_KTHWC = total_KTHWC + chunk_jacobian(predict, x_THWC + deviation * noise_THWC)
    return _per_pixel(total_KTHWC / num_samples, num_cameras).square().sum((0, -1)).sqrt()


def attention_saliency(network: Perceiver, frames_THWC: Frames, num_cameras: int = 1) -> Float[Tensor, "t h w cameras"]:
    """Attention weights as a map of pixels, averaged over heads and latents: see ``attention_to_pixels``."""
    with torch.no_grad():
        weights_RM = network.attention_map(frames_THWC[None])[0].flatten(0, 1)
    return attention_to_pixels(network, weights_RM, frames_THWC, num_cameras).mean(0)


def attention_to_pixels(
    network: Perceiver, weights_RM: Float[Tensor, "rows m"], frames_THWC: Frames, num_cameras: int = 1
) -> Float[Tensor, "rows t h w cameras"]:
    """Maps weights over tokens back to pixels.

    Weights a over tokens z = F x are a linear functional of the pixels, sum_m a[m] z[m] = <F^T a, x>, with F the input
    pipeline; F^T a is the weight with which each pixel is read, and its sign is lost in the norm over the tokens'
    channels. If tokens are pixels without individual scales, these are the weights themselves. Each token's scale
    inside the attention (the LayerNorm's) is ignored.

    Args:
        network: The network that the weights belong to.
        weights_RM: Weights over the transform's output tokens, any number of rows.
        frames_THWC: The frames; only their shape matters.
        num_cameras: Number N of cameras that share the channel axis.

    Returns:
        Root mean square over a pixel's channels of the norm over the tokens' channels.

    Raises:
        UserError: If the input transform is not linear, so that weights are not a functional of the pixels.
    """
    transform = network.input_pipeline.transform
    if not transform.is_linear:
        raise UserError(
            f"attention over the tokens of {network.config.transform!r} cannot be mapped to pixels: expected a "
            "linear input transform; use another method, e.g. gradient"
        )
    x_RTHWC = unit_floats(frames_THWC).detach().expand(len(weights_RM), *frames_THWC.shape).clone().requires_grad_()
    with torch.enable_grad():
        z_RMD = network.input_pipeline(network.tokens(x_RTHWC))
    squares_RTHWC = torch.zeros_like(x_RTHWC)
    for z_RM in z_RMD.unbind(-1):
        (functional_RTHWC,) = torch.autograd.grad(z_RM, x_RTHWC, weights_RM.to(z_RM.dtype), retain_graph=True)
        squares_RTHWC += functional_RTHWC.square()
    return _per_pixel(squares_RTHWC, num_cameras).mean(-1).sqrt().detach()


def _predict(policy: LearnedPolicy, eef_state_E: Tensor | None) -> Predict:
    state_1E = None if eef_state_E is None else eef_state_E[None]
    return lambda frames_1THWC: policy(frames_1THWC, state_1E)


def _gradient(policy: LearnedPolicy, frames: Tensor, eef_state: Tensor | None) -> Tensor:
    return gradient_saliency(_predict(policy, eef_state), frames, len(policy.interface.cameras))


def _input(policy: LearnedPolicy, frames: Tensor, eef_state: Tensor | None) -> Tensor:
    baseline = mean_frames(policy.network) if isinstance(policy.network, Perceiver) else None
    return input_saliency(_predict(policy, eef_state), frames, len(policy.interface.cameras), baseline)


def _smooth(policy: LearnedPolicy, frames: Tensor, eef_state: Tensor | None) -> Tensor:
    return smooth_saliency(_predict(policy, eef_state), frames, len(policy.interface.cameras))


def _attention(policy: LearnedPolicy, frames: Tensor, eef_state: Tensor | None) -> Tensor:
    if not isinstance(policy.network, Perceiver):
        raise UserError(f"policy {policy.name} has no attention over its input; use method=input, gradient or smooth")
    return attention_saliency(policy.network, frames, len(policy.interface.cameras))


METHODS: dict[str, Callable[[LearnedPolicy, Tensor, Tensor | None], Tensor]] = {
    "gradient": _gradient,
    "input": _input,
    "smooth": _smooth,
    "attention": _attention,
}


def policy_saliency(
    policy: LearnedPolicy,
    frames_THWC: Frames,
    eef_state_E: Float[Tensor, " e"] | None = None,
    method: str = "input",
) -> Float[Tensor, "t h w cameras"]:
    """Saliency of a policy's frames for the chunk that it predicts.

    Args:
        policy: The policy.
        frames_THWC: Its frames, the newest last, all cameras in the channel axis.
        eef_state_E: The end-effector state, for policies that see it.
        method: One of ``METHODS``.

    Returns:
        Non-negative; gradients are in normalised action units per unit of a pixel in [0, 1].

    Raises:
        UserError: Unknown method, or one that does not apply to the policy.
    """
    if method not in METHODS:
        raise unknown_name("saliency method", method, METHODS)
    return METHODS[method](policy, frames_THWC, eef_state_E)


def unit_floats(frames: Tensor) -> Tensor:
    """Converts bytes to floats in [0, 1], as the network does; floats are unchanged."""
    return frames if frames.is_floating_point() else frames.to(torch.float32) / 255.0


def _per_pixel(values: Tensor, num_cameras: int) -> Tensor:
    """(..., C) to (..., N, C / N)."""
    channels = values.shape[-1]
    if num_cameras < 1 or channels % num_cameras:
        raise UserError(f"expected a number of cameras that divides the {channels} channels, got {num_cameras}")
    return values.unflatten(-1, (num_cameras, -1))
