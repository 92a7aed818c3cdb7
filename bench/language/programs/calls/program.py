def square(x):
    return x * x


def clamp(x, low, high=200):
    if x < low:
        return low
    if x > high:
        return high
    return x


def mix(a, b):
    return (square(a) + clamp(b, 3)) % 1009


def main(size):
    x = 7
    total = 0
    for i in range(size):
        x = mix(x, i % 256)
        total += x
    return f"x {x} total {total}"
