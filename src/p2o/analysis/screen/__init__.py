"""Is P²O worth its cost on this data?"""
