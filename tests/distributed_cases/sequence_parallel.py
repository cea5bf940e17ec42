"""Training with sequences cut between the products, against one device."""

from distributed_cases.tensor_parallel import MODELS, sequence_case

CASES = {f"sequence parallel {name}": sequence_case(name) for name in MODELS}
CASES["sequence parallel, x gathered again"] = sequence_case("GPT", regather=True)
CASES["sequence parallel tied Llama, 2 ranks"] = sequence_case("tied Llama, shared heads", size=2)
