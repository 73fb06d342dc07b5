"""A site's colour, in shades that can be read on our pages (WCAG 2.2, 1.4.3 and 1.4.11)."""

from dataclasses import dataclass

LIGHT, DARK = (0xF1, 0xF1, 0xEF), (0x2A, 0x2B, 0x2E)
"""The least contrasting grounds that anything stands on: those of a row that is pointed at."""
ENOUGH = 4.6  # WCAG asks for 4.5 to 1
STEPS = 100


@dataclass(frozen=True, slots=True)
class Colour:
    """Red, green and blue, 0 to 255."""

    red: int
    green: int
    blue: int

    @classmethod
    def parse(cls, text: str) -> "Colour":
        """From ``#rrggbb``, as the setting's parser has let it through."""
        return cls(*bytes.fromhex(text.removeprefix("#")))

    def __str__(self) -> str:
        return f"#{self.red:02x}{self.green:02x}{self.blue:02x}"

    @property
    def luminance(self) -> float:
        """Relative luminance as WCAG defines it: 0 for black, 1 for white."""
        red, green, blue = (_linear(part / 255) for part in (self.red, self.green, self.blue))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(self, other: "Colour") -> float:
        """The contrast of two colours, 1 to 21."""
        darker, lighter = sorted((self.luminance, other.luminance))
        return (lighter + 0.05) / (darker + 0.05)

    def mixed(self, other: "Colour", share: float) -> "Colour":
        """This colour with a share of another."""
        return Colour(
            *(
                round(mine + (theirs - mine) * share)
                for mine, theirs in zip(
                    (self.red, self.green, self.blue),
                    (other.red, other.green, other.blue),
                    strict=True,
                )
            )
        )

    def readable_on_light(self) -> "Colour":
        """Itself, or as little darker as it takes."""
        return self._towards(BLACK, Colour(*LIGHT))

    def readable_on_dark(self) -> "Colour":
        """Itself, or as little lighter as it takes."""
        return self._towards(WHITE, Colour(*DARK))

    def ink(self) -> "Colour":
        """Black or white, whichever is read better on it."""
        return max((BLACK, WHITE), key=self.contrast)

    def _towards(self, end: "Colour", ground: "Colour") -> "Colour":
        for step in range(STEPS):
            shade = self.mixed(end, step / STEPS)
            if shade.contrast(ground) >= ENOUGH:
                return shade
        return end


BLACK, WHITE = Colour(0, 0, 0), Colour(255, 255, 255)


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
