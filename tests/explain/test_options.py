"""Options of methods from the command line."""

from __future__ import annotations

import pytest

from nntrainer.errors import ConfigError
from nntrainer.explain.methods.lrp import LRP
from nntrainer.explain.options import method_of, parsed


def test_options_reach_their_method() -> None:
    given = parsed(["lrp.rule=alpha_beta", "lrp.alpha=1.5", "attention.x=1"])
    assert given == {"lrp": {"rule": "alpha_beta", "alpha": 1.5}, "attention": {"x": 1}}
    assert method_of("lrp", given["lrp"]) == LRP(rule="alpha_beta", alpha=1.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lrp", r"^--option lrp: write METHOD\.OPTION=VALUE, such as lrp\.rule=gamma$"),
        ("lpr.rule=gamma", r"there is no method 'lpr'; allowed are .*Did you mean 'lrp'\?"),
        ("lrp.rul=gamma", r"^--option lrp\.rul: lrp has no such option; its options are .*Did you mean 'rule'\?"),
        ("lrp.rule=beta", r"^--option lrp\.rule: Input should be 'epsilon', 'gamma' or 'alpha_beta'; given is 'beta'$"),
        ("lrp.alpha=0", r"^--option lrp\.alpha: .*greater than or equal to 1; given is 0$"),
        ("attention.x=1", r"^--option attention\.x: attention has no such option; it has none\.$"),
        ("lrp.rule=[", r"^--option lrp\.rule=\[: '\[' is no value"),
    ],
)
def test_options_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        for name, options in parsed([text]).items():
            method_of(name, options)
