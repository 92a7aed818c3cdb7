def main(size):
    checksum = 0
    for round_ in range(size):
        numbers = []
        pairs = []
        squares = []
        for i in range(200):
            numbers.append((i * 7 + round_) % 101)
            pairs.append([i, numbers[i]])
            squares.append(i * i)
        left = 0
        right = len(numbers) - 1
        while left < right:
            other = numbers[left]
            numbers[left] = numbers[right]
            numbers[right] = other
            left += 1
            right -= 1
        for i, pair in enumerate(pairs):
            checksum += pair[0] + pair[1] * numbers[i] + squares[i]
        checksum = checksum % 1000003
    return f"checksum {checksum}"
