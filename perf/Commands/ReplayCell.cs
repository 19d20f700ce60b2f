using System;
using System.Collections.Generic;
using System.Globalization;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>How a replay treats: one cell of the table, or the defaults.</summary>
/// <param name="Treated">Whether it does.</param>
/// <param name="MinimumOrder">Null: what the arena chooses.</param>
/// <param name="DelaySeconds">On the trace's clock. Null: the default.</param>
/// <param name="Capacity">Of the reactor. Null: the default.</param>
internal sealed record ReplayCell(bool Treated, int? MinimumOrder = null, double? DelaySeconds = null, int? Capacity = null)
{
    public static ReplayCell Off { get; } = new(false);

    public static ReplayCell Default { get; } = new(true);

    /// <summary>The delay on the trace's clock, whether it was chosen or is the default.</summary>
    public double Delay => DelaySeconds ?? new AerationOptions().Delay.TotalSeconds;

    public int ReactorCapacity => Capacity ?? new AerationOptions().ReactorCapacity;

    /// <summary>The least order, every delay at each; and the smaller reactor of the series.</summary>
    public static IReadOnlyList<ReplayCell> Grid
    {
        get
        {
            List<ReplayCell> cells = [Default];
            foreach (int order in new[] { 0, 4, 9 })
            {
                foreach (double delay in new[] { 0.25, 1, 4 })
                {
                    cells.Add(new ReplayCell(true, order, delay, 256));
                }

                cells.Add(new ReplayCell(true, order, 1, 32));
            }

            return cells;
        }
    }

    public string Name => !Treated ? "treatment off"
        : this == Default ? "treatment on"
        : string.Create(CultureInfo.InvariantCulture, $"order {MinimumOrder?.ToString(CultureInfo.InvariantCulture) ?? "-"}, {Delay:0.##} s, {ReactorCapacity}");

    public static ReplayCell Read(Arguments arguments)
    {
        bool treated = arguments.Choice("treatment", "on", "off") == "on";
        int order = arguments.Integer("minimum-order", -1, 0, 10);
        double delay = arguments.Number("delay-seconds", -1, 0, 3600);
        int capacity = arguments.Integer("capacity", -1, 1, 1024);
        return new ReplayCell(treated, order < 0 ? null : order, delay < 0 ? null : delay, capacity < 0 ? null : capacity);
    }

    /// <summary>For the child's command line.</summary>
    public string[] ToArguments()
    {
        List<string> arguments = ["--treatment", Treated ? "on" : "off"];
        Add("--minimum-order", MinimumOrder);
        Add("--delay-seconds", DelaySeconds);
        Add("--capacity", Capacity);
        return [.. arguments];

        void Add(string name, IFormattable? value)
        {
            if (value is not null)
            {
                arguments.AddRange([name, value.ToString(null, CultureInfo.InvariantCulture)]);
            }
        }
    }

    /// <param name="speed">What the trace's clock runs at: a second there is 1 / speed here.</param>
    public PageArenaOptions Options(double speed) => new()
    {
        Aeration = new AerationOptions
        {
            Enabled = Treated,
            MinimumOrder = MinimumOrder,
            Delay = TimeSpan.FromSeconds(Delay) / speed,
            ReactorCapacity = ReactorCapacity,
        },
    };
}
