def build(leaves):
    nodes = []
    for i in range(leaves):
        nodes.append({"name": f"leaf{i}", "size": i % 37, "tags": ["a", "bc"], "ok": i % 2 == 0, "children": []})
    while len(nodes) > 1:
        parents = []
        i = 0
        while i < len(nodes):
            children = []
            total = 0
            j = 0
            while j < 4 and i < len(nodes):
                children.append(nodes[i])
                total += nodes[i]["size"]
                i += 1
                j += 1
            parents.append({"name": f"node{i}", "size": total, "tags": [], "ok": True, "children": children})
        nodes = parents
    return nodes[0]


def walk(tree):
    stack = [tree]
    numbers = 0
    letters = 0
    yes = 0
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for item in value.values():
                stack.append(item)
        elif isinstance(value, list):
            for item in value:
                stack.append(item)
        elif isinstance(value, str):
            letters += len(value)
        elif isinstance(value, bool):
            yes += 1 if value else 0
        else:
            numbers += value
    return numbers * 3 + letters * 5 + yes


def main(size):
    total = 0
    for n in range(size):
        total += walk(build(64 + n % 64))
    return f"total {total}"
