"""Push prompts through LLM providers: nothing lost, nothing paid twice, every number true."""

__version__ = "0.4.1"
__all__ = ["__version__"]
