"""What the viewers of this server are in a hurry for; the collector gives way to it."""

from typing import Final

from raymon.live.courtesy import Courtesy

courtesy: Final = Courtesy()
