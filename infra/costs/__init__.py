"""What a month costs: list prices, what a call was measured to use, and the bill of both."""
