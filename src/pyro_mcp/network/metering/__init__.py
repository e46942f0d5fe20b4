"""The metering of requests to the APIs of models: the most that each may use, and the usage that its answer reports."""
