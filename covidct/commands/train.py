def run(c):
    print(c)
