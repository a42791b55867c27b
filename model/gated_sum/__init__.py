r"""The sum over neighbors of Eq. 2 with its batch normalisation: the mathematics.

Edge e carries the message of its sender j to its receiver i. CGCNN multiplies the concatenation [receiver, sender,
edge] of every edge with one weight matrix. Split into its three parts, the atom parts are multiplied once per atom:

.. math::
    z_e &= r_{i(e)} + s_{j(e)} + \sum_k \phi_k(d_e) W_k \quad\text{(gate and core: 2 dim columns)}\\
    y_e &= \gamma\,\frac{z_e - \mu}{\sqrt{v + \epsilon}} + \beta,
          \quad \mu = \sum_e q_e z_e,\; v = \sum_e q_e (z_e - \mu)^2\\
    t_i &= \sum_{e \to i} w_e\, \sigma(y_e^\text{gate}) \odot g(y_e^\text{core})

with softplus g, the weight :math:`w_e` of the edge and its share :math:`q_e` of all bonds of the unmerged crystals.
With :math:`h_e` for the derivative of the message by :math:`y_e`, and :math:`G` for that of the loss by :math:`t`,

.. math::
    \partial\beta &= \sum_e w_e G_{i(e)} h_e, \qquad
    \partial\gamma = \sum_e w_e G_{i(e)} h_e (z_e - \mu) / \sqrt{v + \epsilon}\\
    \partial z_e &= \frac{\gamma}{\sqrt{v + \epsilon}} \left( w_e G_{i(e)} h_e
          - q_e \left( \partial\beta + \frac{z_e - \mu}{\sqrt{v + \epsilon}}\,\partial\gamma \right) \right)

(without the terms in :math:`q_e` where mean and variance are fixed), which is summed by receiver, by sender and, times
:math:`\phi`, over all edges.

`by_torch` computes that with PyTorch's operations on any device and in any precision, and is the reference; `by_numba`
with compiled loops (`loops`, on the numbers of `lanes`) on CPUs, more than twice as fast. `choice` says which.

Source:
    Sanyal et al. 2018, Eq. 2; its normalisation: cgcnn ``model.py:60-80@f42ab23``.
"""
