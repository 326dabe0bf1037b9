"""All groups of figures by name: (function of a Run, what it measures)."""

import groups_cost
import groups_life
import groups_load

GROUPS = {**groups_load.GROUPS, **groups_life.GROUPS, **groups_cost.GROUPS}
