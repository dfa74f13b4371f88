"""Questions of which no two are worded alike, as in data sets that people wrote; for the leak guard's benchmark."""

_TEXT = """\
Clara sold 48 jars of honey at the market in April, and in May she sold only half as many. How many jars did she
sell in both months together?

A ferry carries 36 cars on the lower deck and 27 on the upper one. It crosses the bay 14 times a day. If on average
a ninth of the places stay empty, how many cars cross per day?

Mr. Olsen pays 19 euros an hour for a babysitter. Last night he and his wife were out for 50 minutes longer than
four hours; what did they owe the sitter?

The perimeter of a rectangular vegetable bed is 62 metres and its length exceeds its width by 7 metres. What is the
area of the bed in square metres?

Joy can read 8 pages of her detective story in 20 minutes. How many hours will it take her to get through all 312
pages at this pace?

Betty wants a leather wallet that costs $115. She has saved half of the money, her parents gave her $15 for this
purpose, and her grandparents twice as much as her parents. How much more does she need?

In a cactus nursery every third plant blooms in spring and every fifth one in autumn; 18 plants bloom in both
seasons. How many plants does the nursery have if none of them ever dies?

Weng reached the summit after climbing 420 metres in the morning, sliding back 65 metres on loose gravel, and
climbing the remaining 388 metres after lunch. How high above the hut is the summit?

Ken packed a parcel for his brother: he put it on a scale, poured in jelly beans until it weighed 2 pounds, added
brownies until the weight had tripled, and then another pound of jelly beans. How heavy was it?

Alexis bought a shirt for $30, a suit coat for $38, socks for $11, a belt for $18 and a pair of shoes, out of a
budget of $200, and $16 were left. What did the shoes cost?

Tina makes 18 dollars an hour, and for every hour beyond the eighth of a shift she gets half of her wage on top.
What does she earn in five shifts of ten hours each?

An orchestra seats 13 violinists in each of its first two rows, 9 cellists behind them, and a brass section that is
one third as large as all the strings. How many musicians sit on the stage?

Natasha's grandmother gave her a bag of 84 sweets, of which she ate two every evening except on Sundays. After how
many weeks was the bag empty?

A snail climbs up a well that is 17 feet deep, gaining 4 feet by day and slipping back 3 feet each night. On which
day does it first see the rim?

Three printers finish a catalogue in 40 minutes when they run together. The slow one alone would need six hours, the
middle one two and a half; how long does the fast one take by itself?

Of the 140 pupils at Hill School, 65 play an instrument, 48 sing in the choir, and 51 do neither. How many of the
singers also play an instrument?

A grocer mixes coffee worth 9 dollars a kilo with coffee worth 14 dollars a kilo, and sells 30 kilos of the blend
for 330 dollars without any profit. How many kilos of the cheaper sort are in it?

The tank of a lawn mower holds 2.5 litres. The gardener used two thirds of a full tank for the front lawn and 60
percent of what was left for the back; how much petrol remains?

Sixteen chess players meet in a knockout tournament, and each round takes exactly one afternoon. How many games are
played altogether before the champion is known?

A baker's oven takes nine trays, and each tray holds five rows of seven rolls. After the first batch, 23 rolls were
burnt at the edge. How many good rolls came out?

On a number line, the points P and Q are 26 units apart, and R lies three times as far from P as from Q. If R is
between them, how far is it from the midpoint of PQ?

Find all real numbers t for which the parabola y = tx^2 + 6x + t - 8 touches the horizontal axis in exactly one
point.

Let ABC be an acute triangle with AB = 13, BC = 14 and CA = 15, and let H be its orthocentre. Compute the distance
from H to the side BC.

For how many positive integers n less than 2500 is the greatest common divisor of n and 210 equal to 15?

The polynomial p(x) = x^3 - 7x^2 + cx - 8 has three positive roots in geometric progression. What is the value of c?

A fair coin is tossed until heads comes up for the third time. What is the probability that exactly seven tosses are
made?

Determine the smallest positive integer whose cube ends in the digits 888.

Evaluate \\sum_{k=1}^{99} \\frac{1}{\\sqrt{k+1}+\\sqrt{k}} and give your result as an integer.

If \\log_2 (x - 3) + \\log_2 (x + 4) = 3, what is the largest possible value of x?

How many vertical asymptotes does the graph of y = \\frac{x-5}{x^2+x-30} have, and where do they lie?

A regular dodecagon is inscribed in a circle of radius 6. Express the area of the dodecagon that lies outside of the
inscribed square with the same centre.

Suppose a, b and c are nonzero digits such that the three-digit numbers abc, bca and cab add up to 1776. What is a +
b + c?

The complex number z satisfies |z - 3i| = 5 and its imaginary part is twice its real part. Compute the product of
all such z.

Two vertices of a cube with edge length 4 are chosen at random. What is the expected value of the square of their
distance?

Each of the letters in the word MISSISSIPPI is written on a card. In how many ways can the cards be laid out in a
row so that no two letters S are adjacent?

Let f be a function with f(x + y) = f(x) + f(y) + 2xy for all real x and y, and f(1) = 4. Find f(12).

What is the remainder when the number formed by writing the integers from 1 to 61 one after another is divided by 9?

In the sequence 3, 8, 18, 38, ... every term after the first is two more than twice the preceding one. Which term is
the first to exceed one hundred thousand?

A point is chosen uniformly inside an equilateral triangle of side length 10. Find the expected sum of its distances
to the three sides.

Given that \\sin\\alpha + \\cos\\alpha = \\frac{7}{5} with 0 < \\alpha < \\frac{\\pi}{4}, determine the exact value
of \\tan\\alpha.

How many ordered quadruples of non-negative integers have the sum 20 when none of the four numbers may exceed 9?

The tangent lines to the curve y = x^3 - 4x at the points with x = 1 and x = -2 intersect at a point S. Find the
coordinates of S.

A cylinder and a cone have the same base radius and equal volumes; the cone is 18 cm high and its slant height is 30
cm. What is the lateral surface of the cylinder?

Solve the inequality |2x - 9| < x + 6 and write the solution set as an interval.

Twelve points are marked on a circle, and all chords between them are drawn. At most how many intersection points
can lie inside of the circle?

Compute the sum of all positive divisors of 3600 that are perfect squares.

The digits of a two-digit prime are swapped, and the new number is 27 larger than the old one. Find the sum of all
primes for which this holds.

An isosceles trapezoid has parallel sides of length 8 and 20 and a diagonal of length 16. What is the radius of its
circumscribed circle?

A box contains five red, four white and three black balls; we draw without looking until we have two of the same
colour. What is the largest number of draws that may be needed?

Find the constant term in the expansion of (2x^2 - \\frac{3}{x})^9.

Let N be the number of binary strings of length ten in which no three consecutive digits are equal. Determine N
modulo 100.

If the matrix with rows (2, k) and (k, 8) has the eigenvalue zero, what are the possible values of k?

The area of the region bounded by the parabola y = 6x - x^2 and the line y = 2x is to be halved by a vertical line.
Where must it be drawn?

How long is the shortest path from (0, 5) to (12, 4) that touches the x-axis on its way?

Emma's clock loses four minutes every day. She sets it right at noon on the first of March; on which date will it
show the right time again?

Five friends share a taxi for 41 dollars; two of them get out halfway and pay only half of what each of the others
pays. How much does each of the others pay, rounded to cents?

A rope was cut into three pieces whose lengths are in the ratio 2 : 3 : 7, and the longest piece is 40 cm longer
than the other two put together. How long was the rope?

The average age of a band of nine was 31 years before its drummer left; without the drummer the average is exactly
two years lower. How old is the drummer?

In a dance course there were 26 more women than men at first. After four couples had left and nine men had joined,
there were twice as many women as men. How many people took part at first?

A kiosk sells postcards at 80 cents and stamps at 95 cents. Somebody spends exactly 16 dollars and 45 cents there;
how many postcards does she take home?
"""

QUESTIONS = [" ".join(question.split()) for question in _TEXT.split("\n\n")]
"""Word problems of primary school and problems of competitions."""
