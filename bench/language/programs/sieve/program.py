def main(size):
    flags = []
    for _ in range(size + 1):
        flags.append(True)
    primes = 0
    sum_ = 0
    for i in range(2, size + 1):
        if not flags[i]:
            continue
        primes += 1
        sum_ = (sum_ + i) % 1000003
        for j in range(i * i, size + 1, i):
            flags[j] = False
    return f"primes {primes} sum {sum_}"
