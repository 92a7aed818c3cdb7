"""The one grammar of the language: `hsl.lark`, read by `hsl.parser`."""
