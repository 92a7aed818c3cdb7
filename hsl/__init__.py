"""HSL: the language. Source goes through these files in order:

source → parser (grammar/hsl.lark) → ast → compiler → evaluator's tree (nodes, variables, expressions, calls) → run
"""
