from bs6207.cli import main

if __name__ == "__main__":
    main()
