def counter(step):
    count = 0

    def tick():
        nonlocal count
        count += step
        return count

    return tick


def main(size):
    total = 0

    def add(x):
        nonlocal total
        total = (total + x) % 1000003

    for i in range(size):
        tick = counter(i % 7)
        for _ in range(8):
            add(tick())
    return f"total {total}"
