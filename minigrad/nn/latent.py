"""Multi-head latent attention: keys and values that one short vector a token stands for."""

import math

import minigrad as mg
from minigrad.nn.layers import Linear, RMSNorm
from minigrad.nn.module import Module


class MultiHeadLatentAttention(Module):
    """Attention whose keys and values are made from a latent of width d_latent (DeepSeek-V2, 2024).

    A token leaves behind its latent c (d_c) and one key part that carries its position, turned by
    its angle and shared by all heads (d_R); a cache holds these d_c + d_R numbers. Head i has

        k_i = [c W_UK,i ; k_R],   v_i = c W_UV,i,   q_i = [x W_Q,i ; the part that is turned].

    For few new tokens, W_UK moves over to the query and W_UV behind the sum (**absorbed**), since
    q · (c W_UK) = (q W_UKᵀ) · c: all heads then share [c ; k_R] as key and c as value, and no key
    or value is ever made. Both ways give the same output; the one with fewer products is taken.

    Parameters: ``query`` (D, n_h (H + d_R)); ``compress`` (D, d_c), whose output passes
    ``latent_norm``; ``rotary_key`` (D, d_R); ``key`` W_UK and ``value`` W_UV (d_c, n_h H);
    ``output`` (n_h H, D). Arguments: d_latent, d_c; d_rope, d_R, even; d_head, H, D / n_heads
    unless given; the others as for MultiHeadAttention.
    """

    def __init__(
        self, d_model, n_heads, d_latent, d_rope, *, d_head=None, norm_eps=1e-5, causal=True
    ):
        if n_heads < 1 or (d_head is None and d_model % n_heads):
            raise ValueError(
                f"MultiHeadLatentAttention: d_model {d_model} is not divisible by n_heads {n_heads}"
            )
        self.n_heads, self.d_latent, self.d_rope = n_heads, d_latent, d_rope
        self.d_head = d_model // n_heads if d_head is None else d_head
        self.causal = causal
        self.query = Linear(d_model, n_heads * (self.d_head + d_rope), bias=False)
        self.compress = Linear(d_model, d_latent, bias=False)
        self.latent_norm = RMSNorm(d_latent, norm_eps)
        self.rotary_key = Linear(d_model, d_rope, bias=False)
        self.key = Linear(d_latent, n_heads * self.d_head, bias=False)
        self.value = Linear(d_latent, n_heads * self.d_head, bias=False)
        self.output = Linear(n_heads * self.d_head, d_model, bias=False)

    def forward(self, x, mask=None, rotary=None, remember=None, absorbed=None):
        """(B, L, D) of x (B, L, D).

        Arguments: rotary, the (cos, sin) of ``rotary_tables`` for width d_R; remember, a function
        that takes the latents (B, L, d_c) and turned key parts (B, L, d_R) of these positions and
        gives those of all positions so far as keys (B, 1, T, d_c + d_R) and values (B, 1, T, d_c);
        absorbed, True or False to say which way, None for the cheaper; mask as for
        MultiHeadAttention.
        """
        B, L, _ = x.shape
        q = self.query(x).reshape(B, L, self.n_heads, self.d_head + self.d_rope)
        q_content, q_turned = q[..., : self.d_head], q[..., self.d_head :]
        latent = self.latent_norm(self.compress(x))  # (B, L, d_c)
        turned = self.rotary_key(x).reshape(B, L, 1, self.d_rope)
        if rotary is not None:
            cos, sin = (table[..., None, :] for table in rotary)  # (…, L, 1, d_R/2)
            q_turned, turned = mg.rotary(q_turned, cos, sin), mg.rotary(turned, cos, sin)
        turned = turned.reshape(B, L, self.d_rope)
        if remember is not None:
            keys, values = remember(latent, turned)
        else:
            keys = mg.concatenate([latent, turned], axis=-1).reshape(B, 1, L, -1)
            values = latent.reshape(B, 1, L, -1)
        if absorbed is None:
            absorbed = self._cheaper_absorbed(L, values.shape[2])
        attend = self._absorbed if absorbed else self._expanded
        y = attend(q_content, q_turned, keys, values, mask)  # (B, n_h, L, H)
        return self.output(y.transpose(0, 2, 1, 3).reshape(B, L, -1))

    def _absorbed(self, q_content, q_turned, keys, values, mask):
        up_key = self.key.weight.reshape(self.d_latent, self.n_heads, self.d_head)
        up_value = self.value.weight.reshape(self.d_latent, self.n_heads, self.d_head)
        q = q_content.transpose(0, 2, 1, 3) @ up_key.transpose(1, 2, 0)  # (B, n_h, L, d_c)
        q = mg.concatenate([q, q_turned.transpose(0, 2, 1, 3)], axis=-1)
        y = self._attention(q, keys, values, mask)  # (B, n_h, L, d_c)
        return y @ up_value.transpose(1, 0, 2)  # (B, n_h, L, d_c) -> (B, n_h, L, H)

    def _expanded(self, q_content, q_turned, keys, values, mask):
        B, _, T, _ = values.shape
        heads = (B, T, self.n_heads, self.d_head)
        latents = values.reshape(B, T, self.d_latent)
        k = self.key(latents).reshape(heads).transpose(0, 2, 1, 3)  # (B, n_h, T, H)
        v = self.value(latents).reshape(heads).transpose(0, 2, 1, 3)
        shared = mg.broadcast_to(keys[..., self.d_latent :], (B, self.n_heads, T, self.d_rope))
        k = mg.concatenate([k, shared], axis=-1)  # (B, n_h, T, H + d_R)
        q = mg.concatenate([q_content, q_turned], axis=-1).transpose(0, 2, 1, 3)
        return self._attention(q, k, v, mask)

    def _attention(self, q, k, v, mask):
        scale = 1 / math.sqrt(self.d_head + self.d_rope)
        return mg.scaled_dot_product_attention(q, k, v, causal=self.causal, mask=mask, scale=scale)

    def _cheaper_absorbed(self, L, T):
        """Whether L new of T tokens in all take fewer products a head the absorbed way."""
        c, H, r = self.d_latent, self.d_head, self.d_rope
        absorbed = L * 2 * H * c + L * T * (2 * c + r)
        expanded = T * 2 * H * c + L * T * (2 * H + r)
        return absorbed < expanded

    def extra_repr(self):
        causal = ", causal" if self.causal else ""
        sizes = f"latent {self.d_latent}, rotary {self.d_rope}"
        return f"{self.output.weight.shape[1]}, {self.n_heads} heads, {sizes}{causal}"
