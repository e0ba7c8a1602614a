"""All the families of public curves by name."""

from __future__ import annotations

import _family_accelerating_nas
import _family_algoperf
import _family_bert_glue
import _family_deepobs
import _family_dopamine
import _family_finetune_llm
import _family_gemstone
import _family_lcdb
import _family_mlperf
import _family_mpl
import _family_naap440
import _family_stepback


_MODULES = (
    _family_accelerating_nas,
    _family_deepobs,
    _family_naap440,
    _family_lcdb,
    _family_dopamine,
    _family_algoperf,
    _family_mlperf,
    _family_stepback,
    _family_bert_glue,
    _family_finetune_llm,
    _family_mpl,
    _family_gemstone,
)
FAMILIES = {module.FAMILY.name: module.FAMILY for module in _MODULES}
