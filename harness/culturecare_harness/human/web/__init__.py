"""The web form in which people rate: pages that work without a mouse, with a screen reader and without scripts, on one machine.

`serve` is the way in. `app` says which address shows what, `journal` keeps answers, `consents` keeps who agreed to what, `fields` reads
what a browser sends, `pages` makes HTML of it all. Pages are plain forms: where scripts run, `form.js` saves every answer as it is given;
where they do not, answers are saved with the button. What is on the disk is the only state, so that a killed server loses nothing.
"""

from culturecare_harness.human.web.app import create_app
from culturecare_harness.human.web.serving import serve

__all__ = ["create_app", "serve"]
