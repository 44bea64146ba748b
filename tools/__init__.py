"""For those who make the kit: notebooks, results, pictures, the report on the virtual hearts, benchmarks."""
