"""A second witness: what people do, from their key points alone, where renders and reality look the same."""
