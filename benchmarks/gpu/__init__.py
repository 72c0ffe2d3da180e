"""What to run where there is a GPU: conformance, first checks, costs, training side by side; in parts that go on."""
